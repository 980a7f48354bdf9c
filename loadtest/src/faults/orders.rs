//! The way of a drill's orders to whoever runs the cluster: one at a time, and each is answered before the next is given.

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot};

/// The giver waits for each answer, so there is never more than one.
const WAITING_MAX: usize = 1;

/// Where orders are given.
#[derive(Clone, Debug)]
pub struct Orders(mpsc::Sender<Order>);

/// One order, such as `kill eu-west`, in the words of `snowtide-dev up`.
#[derive(Debug)]
pub struct Order {
    /// What to do.
    pub text: String,
    answer: oneshot::Sender<anyhow::Result<()>>,
}

/// Where orders are given, and where they arrive: there are no more once the former is gone.
pub fn channel() -> (Orders, mpsc::Receiver<Order>) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Orders(sender), receiver)
}

impl Orders {
    /// Waits until it is carried out.
    pub async fn order(&self, text: &str) -> anyhow::Result<()> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Order { text: text.to_owned(), answer }).await.ok().context("nobody runs the cluster any more")?;
        answered.await.context("the order was not answered")?
    }
}

impl Order {
    /// Says how it went.
    pub fn answer(self, outcome: anyhow::Result<()>) {
        // Who gave it may have given up.
        let _ = self.answer.send(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_order_is_done_once_it_is_answered_and_fails_if_nobody_can() {
        let (orders, mut given) = channel();
        let cluster = tokio::spawn(async move {
            given.recv().await.unwrap().answer(Ok(()));
            given.recv().await.unwrap().answer(Err(anyhow::anyhow!("it runs already")));
            drop(given.recv().await.unwrap());
        });
        assert!(orders.order("kill a").await.is_ok());
        assert_eq!(orders.order("start b").await.unwrap_err().to_string(), "it runs already");
        assert!(orders.order("cut c").await.is_err(), "it was dropped unanswered");
        cluster.await.unwrap();
        assert!(orders.order("heal c").await.is_err(), "nobody is there any more");
    }
}
