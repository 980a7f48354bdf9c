//! A batch under construction: operations are checked and encoded as they are added.

use snowtide_protocol::wire::{
    Ask, BATCH_NAMESPACES_MAX, BATCH_OPERATIONS_MAX, IDS_MAX, NAMESPACE_BYTES_MAX, RequestHead, WireOperation,
    WireTerms,
};
use snowtide_protocol::{Action, codec, key};

use crate::error::InvalidArgument;

/// Operations on counters that travel, and are applied, together and in order: at most 10 000.
///
/// The batch holds the operations as the bytes that will be sent, so a key costs no allocation.
///
/// ```
/// # fn main() -> Result<(), snowtide_client::InvalidArgument> {
/// let mut batch = snowtide_client::Batch::new();
/// batch.increment("default", "home", 3)?.decrement("default", "stock", 1)?.get("default", "home")?;
/// assert_eq!(batch.len(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    namespaces: Vec<Box<str>>,
    operations: Vec<u8>,
    count: usize,
    /// Some operation changes a counter.
    pub(crate) writes: bool,
    /// Some operation changes none.
    pub(crate) reads: bool,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// A batch of one.
    pub(crate) fn of(namespace: &str, key: &str, action: Action) -> Result<Self, InvalidArgument> {
        let mut batch = Self::new();
        batch.push(namespace, key, action)?;
        Ok(batch)
    }

    /// Operations so far.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Nothing was added.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.namespaces.clear();
        self.operations.clear();
        (self.count, self.writes, self.reads) = (0, false, false);
    }

    /// The operations as they were added: namespace, key and action.
    #[cfg(feature = "http")]
    pub(crate) fn operations(&self) -> impl Iterator<Item = (&str, &str, Action)> {
        let mut cursor = codec::Cursor::new(&self.operations);
        // They were encoded here, so they are read to the end.
        std::iter::from_fn(move || {
            let WireOperation { namespace, key, action } = cursor.read().ok()?;
            let namespace = self.namespaces.get(usize::try_from(namespace).ok()?)?;
            Some((&**namespace, key, action))
        })
    }

    /// An upper bound of the bytes that [`Self::append_request`] appends.
    pub(crate) fn weight(&self) -> usize {
        let names = self.namespaces.iter().map(|name| name.len().saturating_add(9)).sum::<usize>();
        names.saturating_add(self.operations.len()).saturating_add(REQUEST_HEAD_BYTES_MAX)
    }

    /// Appends the whole request, on terms if there are any.
    pub(crate) fn append_request(&self, id: u64, terms: Option<&WireTerms<'_>>, bytes: &mut Vec<u8>) {
        let (namespaces, operations) = (narrow(self.namespaces.len()), narrow(self.count));
        let ask = match terms {
            None => Ask::Batch { namespaces, operations },
            Some(_) => Ask::OnTerms { namespaces, operations },
        };
        codec::encode_into(&RequestHead { id, ask }, bytes);
        if let Some(terms) = terms {
            codec::encode_into(terms, bytes);
        }
        for name in &self.namespaces {
            codec::encode_into::<str>(name, bytes);
        }
        bytes.extend_from_slice(&self.operations);
    }

    /// Adds any operation.
    pub(crate) fn push(&mut self, namespace: &str, key: &str, action: Action) -> Result<&mut Self, InvalidArgument> {
        check_key(key)?;
        if self.count >= BATCH_OPERATIONS_MAX {
            return Err(InvalidArgument::TooManyOperations);
        }
        let namespace = self.position(namespace)?;
        codec::encode_into(&WireOperation { namespace, key, action }, &mut self.operations);
        self.count = self.count.saturating_add(1);
        self.writes |= action.is_write();
        self.reads |= !action.is_write();
        Ok(self)
    }

    /// Where the namespace stands in the list; most batches name one or two.
    fn position(&mut self, namespace: &str) -> Result<u32, InvalidArgument> {
        if let Some(at) = self.namespaces.iter().position(|known| **known == *namespace) {
            return Ok(narrow(at));
        }
        check_namespace(namespace)?;
        if self.namespaces.len() >= BATCH_NAMESPACES_MAX {
            return Err(InvalidArgument::TooManyNamespaces);
        }
        self.namespaces.push(namespace.into());
        Ok(narrow(self.namespaces.len().saturating_sub(1)))
    }
}

/// An upper bound of a [`RequestHead`]: an id, two tags and two counts, each at most nine bytes.
pub(crate) const REQUEST_HEAD_BYTES_MAX: usize = 48;

/// A count that the limits above keep far below 2^32.
fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

pub(crate) fn check_key(key: &str) -> Result<(), InvalidArgument> {
    Ok(key::check(key)?)
}

pub(crate) fn check_namespace(name: &str) -> Result<(), InvalidArgument> {
    match name.len() {
        1..=NAMESPACE_BYTES_MAX => Ok(()),
        length => Err(InvalidArgument::NamespaceLength(length)),
    }
}

pub(crate) fn check_ids(count: u32) -> Result<(), InvalidArgument> {
    if (1..=IDS_MAX).contains(&count) { Ok(()) } else { Err(InvalidArgument::IdCount(count)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use snowtide_protocol::codec::{Cursor, DecodeError};

    use super::*;

    /// An operation before it is encoded: namespace, key, and what is done.
    type Plain = (String, String, Action);

    fn operation() -> impl Strategy<Value = Plain> {
        let key = "\\PC{1,40}".prop_filter("a dot segment is no key", |key| !matches!(key.as_str(), "." | ".."));
        let action = any::<Option<i64>>().prop_map(|by| by.map_or(Action::Get, Action::Increment));
        ("[a-c]{1,2}", key, action)
    }

    /// Reads a request as a server does, but into owned values.
    fn read_batch(bytes: &[u8]) -> Result<(u64, Vec<Plain>), DecodeError> {
        let mut cursor = Cursor::new(bytes);
        let RequestHead { id, ask } = cursor.read()?;
        let Ask::Batch { namespaces, operations } = ask else { panic!("not a batch") };
        let names = (0..namespaces).map(|_| cursor.read::<&str>()).collect::<Result<Vec<_>, _>>()?;
        let read = |_| {
            let WireOperation { namespace, key, action } = cursor.read()?;
            Ok((names[usize::try_from(namespace).unwrap()].to_owned(), key.to_owned(), action))
        };
        let operations = (0..operations).map(read).collect::<Result<_, DecodeError>>()?;
        cursor.finish()?;
        Ok((id, operations))
    }

    proptest! {
        #[test]
        fn a_batch_arrives_as_it_was_built(id: u64, operations in prop::collection::vec(operation(), 0..60)) {
            let mut batch = Batch::new();
            for (namespace, key, action) in &operations {
                batch.push(namespace, key, *action).unwrap();
            }
            let mut bytes = Vec::new();
            batch.append_request(id, None, &mut bytes);
            prop_assert!(bytes.len() <= batch.weight());
            prop_assert_eq!(read_batch(&bytes).unwrap(), (id, operations));
            bytes.push(0);
            prop_assert!(matches!(read_batch(&bytes), Err(DecodeError::Trailing(1))));
        }
    }
}
