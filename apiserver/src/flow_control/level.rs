//! A priority level at work: lets requests run, wait and go. What to do says `queues`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::flowcontrol::v1::{LimitResponseType, PriorityLevelConfiguration};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Refusal;
use super::metrics::Metrics;
use super::queues::{Place, Queues, Shape, Ticket};
use super::shares::Limits;

/// Requests of one level.
pub struct Level {
    name: String,
    hasher: ahash::RandomState,
    state: Mutex<State>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    exempt: bool,
    queues: Queues,
    tickets: Ticket,
    /// Those that wait are told the queue on whose account they run.
    waiting: HashMap<Ticket, oneshot::Sender<usize>>,
}

impl State {
    /// Lets in whom there is a seat for.
    fn dispatch(&mut self) {
        while let Some((ticket, place)) = self.queues.next() {
            let told = self.waiting.remove(&ticket).is_some_and(|sender| sender.send(place).is_ok());
            if !told {
                // It gave up in this moment.
                self.queues.ended(place, 0.0);
            }
        }
    }
}

impl Level {
    pub fn new(name: &str, metrics: Arc<Metrics>) -> Self {
        // The same flow falls to the same queues in every level and on every server.
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        Self { name: name.to_owned(), hasher, state: Mutex::default(), metrics }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn configure(&self, limits: &Limits, configuration: &PriorityLevelConfiguration) {
        let response = configuration.spec.limited.as_ref().map(|limited| &limited.limit_response);
        let shape =
            response.filter(|response| response.type_ == LimitResponseType::Queue).and_then(|response| {
                let queuing = response.queuing.as_ref()?;
                let number = |n: i32| usize::try_from(n).unwrap_or_default().max(1);
                Some(Shape {
                    queues: number(queuing.queues),
                    hand: number(queuing.hand_size),
                    length: number(queuing.queue_length_limit),
                })
            });
        let mut state = self.state.lock();
        state.exempt = limits.exempt;
        state.queues.configure(shape, limits.nominal.max(1));
        state.dispatch();
        self.metrics.limits(&self.name, limits);
    }

    pub fn set_seats(&self, seats: u32) {
        let mut state = self.state.lock();
        state.queues.set_seats(seats.max(1));
        state.dispatch();
        self.metrics.current_limit(&self.name, seats);
    }

    pub fn take_demand(&self) -> u32 {
        self.state.lock().queues.take_demand()
    }

    /// Waits for a seat.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn admit(
        self: &Arc<Self>,
        schema: &str,
        flow: &str,
        patience: Duration,
    ) -> Result<Permit, Refusal> {
        let came = Instant::now();
        let (ticket, receiver) = {
            let mut state = self.state.lock();
            if state.exempt {
                drop(state);
                return Ok(self.permit(schema, None, came));
            }
            state.tickets += 1;
            let ticket = state.tickets;
            let queued = state.queues.may_wait();
            match state.queues.add(ticket, self.hasher.hash_one((schema, flow))) {
                Place::Run(place) => {
                    drop(state);
                    return Ok(self.permit(schema, Some(place), came));
                }
                Place::Full if queued => return Err(Refusal::QueueFull),
                Place::Full => return Err(Refusal::ConcurrencyLimit),
                Place::Wait => {
                    let (sender, receiver) = oneshot::channel();
                    state.waiting.insert(ticket, sender);
                    (ticket, receiver)
                }
            }
        };
        let _counted = self.metrics.waiting(&self.name, schema);
        // A client that goes away drops this future, and with it the place in the queue.
        let mut waiting = Waiting { level: self, ticket, receiver };
        match tokio::time::timeout(patience, &mut waiting.receiver).await {
            Ok(Ok(place)) => Ok(self.permit(schema, Some(place), came)),
            Ok(Err(_)) | Err(_) => {
                self.metrics.waited(&self.name, schema, false, came.elapsed());
                Err(Refusal::TimeOut)
            }
        }
    }

    fn permit(self: &Arc<Self>, schema: &str, place: Option<usize>, came: Instant) -> Permit {
        self.metrics.waited(&self.name, schema, true, came.elapsed());
        self.metrics.started(&self.name, schema);
        Permit { level: self.clone(), schema: schema.to_owned(), place, since: Instant::now() }
    }
}

struct Waiting<'a> {
    level: &'a Level,
    ticket: Ticket,
    receiver: oneshot::Receiver<usize>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.level.state.lock();
        if state.waiting.remove(&self.ticket).is_some() {
            state.queues.forget(self.ticket);
        } else if let Ok(place) = self.receiver.try_recv() {
            // A seat was given to somebody who had just gone.
            state.queues.ended(place, 0.0);
            state.dispatch();
        }
    }
}

/// A seat; given back when dropped.
pub struct Permit {
    level: Arc<Level>,
    schema: String,
    place: Option<usize>,
    since: Instant,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let ran = self.since.elapsed();
        self.level.metrics.ended(&self.level.name, &self.schema, ran);
        if let Some(place) = self.place {
            let mut state = self.level.state.lock();
            state.queues.ended(place, ran.as_secs_f64());
            state.dispatch();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::flowcontrol::v1::standard;

    fn level(name: &str, seats: u32) -> Arc<Level> {
        let level = Arc::new(Level::new(name, Arc::new(Metrics::new())));
        let mut all = standard::mandatory_levels();
        all.extend(standard::suggested_levels());
        let configuration = all.iter().find(|own| own.metadata.name == name).expect("a level");
        let limits = Limits { exempt: name == "exempt", nominal: seats, least: seats, most: seats };
        level.configure(&limits, configuration);
        level
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_seat_that_is_given_back_goes_to_who_waits() {
        let level = level("system", 1);
        let first = level.admit("s", "a", LONG).await.ok();
        let waiting = tokio::spawn({
            let level = level.clone();
            async move { level.admit("s", "b", LONG).await.is_ok() }
        });
        while level.state.lock().queues.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        drop(first);
        assert!(waiting.await.expect("it ends"));
        assert_eq!(level.state.lock().queues.running(), 0);
        assert_eq!(level.take_demand(), 2);
    }

    #[tokio::test]
    async fn who_waits_too_long_or_goes_leaves_no_trace() {
        let level = level("system", 1);
        let _first = level.admit("s", "a", LONG).await.expect("a seat");
        let refused = level.admit("s", "a", Duration::ZERO).await.err();
        assert_eq!(refused, Some(Refusal::TimeOut));
        let state = level.state.lock();
        assert!(state.waiting.is_empty() && state.queues.waiting() == 0);
    }

    #[tokio::test]
    async fn a_level_without_queues_refuses_and_the_exempt_one_never_does() {
        let catch_all = level("catch-all", 1);
        let _first = catch_all.admit("s", "a", LONG).await.expect("a seat");
        assert_eq!(catch_all.admit("s", "a", LONG).await.err(), Some(Refusal::ConcurrencyLimit));
        let exempt = level("exempt", 0);
        let _many = [
            exempt.admit("s", "", LONG).await.expect("no limit"),
            exempt.admit("s", "", LONG).await.expect("no limit"),
        ];
    }
}
