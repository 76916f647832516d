//! Commands that this member has sent to the leader, by the number that they carry in the log.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::command::Answer;
use crate::error::Error;

type Answers = HashMap<u64, oneshot::Sender<Result<Answer, Error>>>;

#[derive(Clone, Default)]
pub struct Waiting {
    answers: Arc<Mutex<Answers>>,
}

/// Takes the number back when nobody waits any more.
pub struct Registered {
    answers: Arc<Mutex<Answers>>,
    number: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.answers.lock().remove(&self.number);
    }
}

impl Waiting {
    pub fn register(&self, number: u64) -> (oneshot::Receiver<Result<Answer, Error>>, Registered) {
        let (sender, receiver) = oneshot::channel();
        self.answers.lock().insert(number, sender);
        (receiver, Registered { answers: self.answers.clone(), number })
    }

    /// The command has been applied, and can be read.
    pub fn answer(&self, number: u64, result: Result<Answer, Error>) {
        if let Some(waiting) = self.answers.lock().remove(&number) {
            // Gone: its client has given up.
            waiting.send(result).ok();
        }
    }

    /// Entries were passed over: nobody will learn what became of the commands among them.
    pub fn forsake(&self) {
        self.answers.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_answered_once_or_told_that_it_will_not_be() {
        let waiting = Waiting::default();
        let (mut one, kept) = waiting.register(1);
        let (mut two, dropped) = waiting.register(2);
        let (mut three, _kept) = waiting.register(3);
        drop(dropped);
        waiting.answer(2, Ok(Answer::None));
        assert!(two.try_recv().is_err());
        waiting.answer(1, Ok(Answer::Revision(7)));
        assert_eq!(one.try_recv().unwrap(), Ok(Answer::Revision(7)));
        drop(kept);
        assert_eq!(three.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        waiting.forsake();
        assert_eq!(three.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert!(waiting.answers.lock().is_empty());
    }
}
