//! A priority level at work: lets requests run, wait and go. What to do says `queues`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::flowcontrol::v1::{LimitResponseType, PriorityLevelConfiguration};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Refusal;
use super::estimate::Estimate;
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
    /// The most seats that one request gets; 0 where nothing is said of it.
    most_of_one: u32,
}

impl State {
    /// Lets in whom there is a seat for.
    fn dispatch(&mut self) {
        while let Some((ticket, place, width)) = self.queues.next() {
            let told = self.waiting.remove(&ticket).is_some_and(|sender| sender.send(place).is_ok());
            if !told {
                // It gave up in this moment.
                self.queues.ended(place, width, 0.0);
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
        state.most_of_one = shape.map_or(0, |shape| most_of_one(limits.nominal, shape.hand));
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

    /// The most seats that one request gets; 0 where nothing is said of it.
    pub fn most_of_one(&self) -> u32 {
        self.state.lock().most_of_one
    }

    pub fn take_demand(&self) -> u32 {
        self.state.lock().queues.take_demand()
    }

    /// Waits for its seats.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn admit(
        self: &Arc<Self>,
        schema: &str,
        flow: &str,
        estimate: Estimate,
        patience: Duration,
    ) -> Result<Permit, Refusal> {
        let width = estimate.width();
        let came = Instant::now();
        let (ticket, receiver) = {
            let mut state = self.state.lock();
            if state.exempt {
                drop(state);
                return Ok(self.permit(schema, None, estimate, came));
            }
            state.tickets += 1;
            let ticket = state.tickets;
            let queued = state.queues.may_wait();
            match state.queues.add(ticket, self.hasher.hash_one((schema, flow)), width) {
                Place::Run(place) => {
                    drop(state);
                    return Ok(self.permit(schema, Some(place), estimate, came));
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
        let _counted = self.metrics.waiting(&self.name, schema, width);
        // A client that goes away drops this future, and with it the place in the queue.
        let mut waiting = Waiting { level: self, ticket, width, receiver };
        match tokio::time::timeout(patience, &mut waiting.receiver).await {
            Ok(Ok(place)) => Ok(self.permit(schema, Some(place), estimate, came)),
            Ok(Err(_)) | Err(_) => {
                self.metrics.waited(&self.name, schema, false, came.elapsed());
                Err(Refusal::TimeOut)
            }
        }
    }

    fn permit(
        self: &Arc<Self>,
        schema: &str,
        place: Option<usize>,
        estimate: Estimate,
        came: Instant,
    ) -> Permit {
        self.metrics.waited(&self.name, schema, true, came.elapsed());
        self.metrics.started(&self.name, schema, estimate.width());
        Permit { level: self.clone(), schema: schema.to_owned(), place, estimate, since: Instant::now() }
    }

    /// Gives seats back.
    fn free(&self, schema: &str, place: Option<usize>, width: u32, ran: Duration) {
        self.metrics.freed(&self.name, schema, width);
        if let Some(place) = place {
            let mut state = self.state.lock();
            state.queues.ended(place, width, ran.as_secs_f64());
            state.dispatch();
        }
    }
}

/// COMPAT: a part of the level's seats, which those whose hands of queues it may fill leave to others.
fn most_of_one(nominal: u32, hand: usize) -> u32 {
    let share = (f64::from(nominal) * 0.15).ceil() as u32;
    share.min(nominal / u32::try_from(hand.max(1)).unwrap_or(u32::MAX)).max(1)
}

struct Waiting<'a> {
    level: &'a Level,
    ticket: Ticket,
    width: u32,
    receiver: oneshot::Receiver<usize>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.level.state.lock();
        if state.waiting.remove(&self.ticket).is_some() {
            state.queues.forget(self.ticket);
        } else if let Ok(place) = self.receiver.try_recv() {
            // A seat was given to somebody who had just gone.
            state.queues.ended(place, self.width, 0.0);
            state.dispatch();
        }
    }
}

/// Seats; given back when dropped, or some time after that.
pub struct Permit {
    level: Arc<Level>,
    schema: String,
    place: Option<usize>,
    estimate: Estimate,
    since: Instant,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let ran = self.since.elapsed();
        self.level.metrics.ended(&self.level.name, &self.schema, ran);
        let (place, Estimate { latency, .. }, width) = (self.place, self.estimate, self.estimate.width());
        // Outside of a runtime (at the very end) nobody waits.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if !latency.is_zero() => {
                let (level, schema) = (self.level.clone(), std::mem::take(&mut self.schema));
                runtime.spawn(async move {
                    tokio::time::sleep(latency).await;
                    level.free(&schema, place, width, ran + latency);
                });
            }
            _ => self.level.free(&self.schema, place, width, ran),
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
        let first = level.admit("s", "a", Estimate::ONE, LONG).await.ok();
        let waiting = tokio::spawn({
            let level = level.clone();
            async move { level.admit("s", "b", Estimate::ONE, LONG).await.is_ok() }
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
        let _first = level.admit("s", "a", Estimate::ONE, LONG).await.expect("a seat");
        let refused = level.admit("s", "a", Estimate::ONE, Duration::ZERO).await.err();
        assert_eq!(refused, Some(Refusal::TimeOut));
        let state = level.state.lock();
        assert!(state.waiting.is_empty() && state.queues.waiting() == 0);
    }

    #[tokio::test]
    async fn a_level_without_queues_refuses_and_the_exempt_one_never_does() {
        let catch_all = level("catch-all", 1);
        let _first = catch_all.admit("s", "a", Estimate::ONE, LONG).await.expect("a seat");
        assert_eq!(
            catch_all.admit("s", "a", Estimate::ONE, LONG).await.err(),
            Some(Refusal::ConcurrencyLimit)
        );
        let exempt = level("exempt", 0);
        let _many = [
            exempt.admit("s", "", Estimate::ONE, LONG).await.expect("no limit"),
            exempt.admit("s", "", Estimate::ONE, LONG).await.expect("no limit"),
        ];
    }

    #[tokio::test]
    async fn a_wide_request_keeps_its_seats_for_a_while() {
        let level = level("system", 10);
        let wide = Estimate { initial: 1, last: 8, latency: Duration::from_millis(1) };
        let first = level.admit("s", "a", wide, LONG).await.expect("seats");
        assert_eq!(level.state.lock().queues.running(), 8);
        let waiting = tokio::spawn({
            let level = level.clone();
            async move { level.admit("s", "b", wide, LONG).await.is_ok() }
        });
        while level.state.lock().queues.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        drop(first);
        assert_eq!(level.state.lock().queues.running(), 8, "who watches is still told");
        assert!(waiting.await.expect("it ends"));
        while level.state.lock().queues.running() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(level.take_demand(), 16);
    }

    #[test]
    fn what_one_request_may_take() {
        let check = |nominal, hand, expected| assert_eq!(most_of_one(nominal, hand), expected);
        check(245, 6, 37);
        check(30, 6, 5);
        check(3, 6, 1);
        check(0, 0, 1);
    }
}
