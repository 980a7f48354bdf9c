//! The tree itself: five levels of sums.

use super::{Leaf, Sum};

/// Children of a node.
pub const FANOUT: usize = 16;
/// The level of the leaves; the root is level 0.
pub const DEPTH: u8 = 4;
/// With a million rows a leaf holds about fifteen.
pub const LEAVES: usize = FANOUT.pow(DEPTH as u32);
/// Where each level begins in the array of all nodes.
const STARTS: [usize; DEPTH as usize + 2] = [0, 1, 17, 273, 4_369, 69_905];

/// A node's place: its level, and its number in that level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    level: u8,
    index: u16,
}

impl Node {
    /// The whole tree.
    pub const ROOT: Self = Self { level: 0, index: 0 };

    /// `None` if the tree has no such node.
    pub fn new(level: u8, index: u16) -> Option<Self> {
        let exists = level <= DEPTH && usize::from(index) < FANOUT.pow(u32::from(level));
        exists.then_some(Self { level, index })
    }

    /// 0 for the root.
    pub fn level(self) -> u8 {
        self.level
    }

    /// Its number in its level.
    pub fn index(self) -> u16 {
        self.index
    }

    /// The leaf that it is, if it is one.
    pub fn leaf(self) -> Option<Leaf> {
        (self.level == DEPTH).then_some(Leaf(self.index))
    }

    /// Its children, in order; none for a leaf.
    pub fn children(self) -> impl Iterator<Item = Self> {
        let (level, first) = (self.level + 1, self.index.wrapping_mul(16));
        let count: u16 = if self.level < DEPTH { 16 } else { 0 };
        (0..count).map(move |at| Self { level, index: first + at })
    }

    /// The widest node of which this leaf is the first, then narrower ones, down to the leaf itself.
    fn beginning_with(leaf: Leaf) -> impl Iterator<Item = Self> {
        let widest = DEPTH - u8::try_from(leaf.0.trailing_zeros() / 4).unwrap_or(DEPTH).min(DEPTH);
        (widest..=DEPTH)
            .map(move |level| Self { level, index: leaf.0.checked_shr(4 * u32::from(DEPTH - level)).unwrap_or(0) })
    }

    /// How many leaves it has below it.
    fn leaves(self) -> u32 {
        1 << (4 * u32::from(DEPTH - self.level))
    }

    fn at(self) -> usize {
        STARTS.get(usize::from(self.level)).copied().unwrap_or_default() + usize::from(self.index)
    }
}

/// The sums of all nodes. Takes 1.1 MiB, whatever it counts.
#[derive(Clone)]
pub struct Tree {
    nodes: Box<[Sum]>,
}

impl Tree {
    /// Of no rows.
    pub fn new() -> Self {
        Self { nodes: vec![Sum::default(); STARTS[usize::from(DEPTH) + 1]].into() }
    }

    /// Something in `leaf` changed by `delta`.
    pub fn add(&mut self, leaf: Leaf, delta: Sum) {
        let mut index = leaf.0;
        for level in (0..=DEPTH).rev() {
            if let Some(sum) = self.nodes.get_mut(Node { level, index }.at()) {
                *sum = sum.plus(delta);
            }
            index /= 16;
        }
    }

    /// The sum of a node.
    pub fn sum(&self, node: Node) -> Sum {
        self.nodes.get(node.at()).copied().unwrap_or_default()
    }

    /// The sum of a leaf.
    pub fn leaf(&self, leaf: Leaf) -> Sum {
        self.sum(Node { level: DEPTH, index: leaf.0 })
    }

    /// The leaves that hold something, from this one on.
    pub fn leaves_from(&self, first: Leaf) -> impl Iterator<Item = Leaf> + '_ {
        let after = |leaf: &Leaf| leaf.0.checked_add(1).and_then(|next| self.leaf_from(Leaf(next)));
        std::iter::successors(self.leaf_from(first), after)
    }

    /// The first of them. What is below a node that holds nothing is passed by.
    fn leaf_from(&self, first: Leaf) -> Option<Leaf> {
        let mut leaf = first;
        while let Some(empty) = Node::beginning_with(leaf).find(|node| self.sum(*node) == Sum::default()) {
            leaf = Leaf(u16::try_from(u32::from(leaf.0) + empty.leaves()).ok()?);
        }
        Some(leaf)
    }

    /// The sum of everything.
    pub fn root(&self) -> Sum {
        self.sum(Node::ROOT)
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn levels_stand_one_after_another() {
        for level in 0..=DEPTH {
            let size = FANOUT.pow(u32::from(level));
            assert_eq!(STARTS[usize::from(level) + 1] - STARTS[usize::from(level)], size);
        }
        assert_eq!(Node::new(DEPTH, u16::MAX).unwrap().at(), STARTS[usize::from(DEPTH) + 1] - 1);
        assert_eq!((Node::new(DEPTH + 1, 0), Node::new(1, 16)), (None, None));
        assert_eq!(Node::new(DEPTH, 7).unwrap().children().count(), 0);
    }

    proptest! {
        /// A node is the sum of its children, whatever was added in whatever order, and the leaves hold what was added.
        #[test]
        fn a_node_is_the_sum_of_its_children(changes in vec((any::<u16>(), any::<u128>()), 0..50)) {
            let (mut tree, mut reversed) = (Tree::new(), Tree::new());
            changes.iter().for_each(|(leaf, delta)| tree.add(Leaf(*leaf), Sum(*delta)));
            changes.iter().rev().for_each(|(leaf, delta)| reversed.add(Leaf(*leaf), Sum(*delta)));
            prop_assert!(tree.nodes == reversed.nodes);
            for level in 0..DEPTH {
                for index in 0..FANOUT.pow(u32::from(level)) {
                    let node = Node::new(level, u16::try_from(index).unwrap()).unwrap();
                    let sum = node.children().map(|child| tree.sum(child)).fold(Sum::default(), Sum::plus);
                    prop_assert_eq!(tree.sum(node), sum);
                }
            }
            let held = |leaf: &Leaf| tree.leaf(*leaf) != Sum::default();
            for first in changes.iter().map(|(leaf, _)| *leaf).chain([0, u16::MAX]) {
                let leaves: Vec<_> = (first..=u16::MAX).map(Leaf).filter(held).collect();
                prop_assert_eq!(tree.leaves_from(Leaf(first)).collect::<Vec<_>>(), leaves);
            }
            for (leaf, _) in &changes {
                let whole = changes.iter().filter(|(other, _)| other == leaf);
                let sum = whole.fold(Sum::default(), |sum, (_, delta)| sum.plus(Sum(*delta)));
                prop_assert_eq!(tree.sum(Node::new(DEPTH, *leaf).unwrap()), sum);
            }
        }

        /// What is added and taken away leaves no trace; what is added twice does (an exclusive or would forget it).
        #[test]
        fn adding_twice_is_not_adding_never(leaf in any::<u16>(), delta in 1..u128::MAX / 2) {
            let mut tree = Tree::new();
            tree.add(Leaf(leaf), Sum(delta));
            tree.add(Leaf(leaf), Sum(delta));
            prop_assert_ne!(tree.root(), Sum::default());
            tree.add(Leaf(leaf), Sum::default().minus(Sum(delta)).minus(Sum(delta)));
            prop_assert!(tree.nodes == Tree::new().nodes);
        }
    }
}
