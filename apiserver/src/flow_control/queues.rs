//! Who of those that wait is next: flows are dealt hands of queues, a request waits in the shortest
//! queue of its flow's hand, and queues take turns by the time that theirs have run (start-time fair
//! queuing; KEP-1040, "Fair Queuing for Server Requests"). Pure: times and tickets come from outside.

use std::collections::VecDeque;

/// What a request is taken to need, in seconds, until it has ended.
const ESTIMATE: f64 = 0.003;

/// How requests beyond the limit wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub queues: usize,
    pub hand: usize,
    pub length: usize,
}

/// A request that waits.
pub type Ticket = u64;

#[derive(Debug, Default)]
struct Queue {
    /// Each with the seats that it needs.
    waiting: VecDeque<(Ticket, u32)>,
    /// Seats that its requests have.
    running: u32,
    /// Seconds that its requests have had seats, on the scale of all queues.
    served: f64,
}

impl Queue {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running == 0
    }
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// It runs, on the account of this queue.
    Run(usize),
    Wait,
    Full,
}

/// The queues of a level, and how many of its seats are taken.
#[derive(Debug, Default)]
pub struct Queues {
    shape: Option<Shape>,
    queues: Vec<Queue>,
    seats: u32,
    running: u32,
    waiting: u32,
    /// Seats that those who wait need.
    wanted: u32,
    /// The most seats at a time, taken and wanted, since it was asked for last.
    most: u32,
}

impl Queues {
    /// No shape: what cannot run at once is refused. Queues are not taken away while requests wait;
    /// they get no new ones.
    pub fn configure(&mut self, shape: Option<Shape>, seats: u32) {
        let wanted = shape.map_or(1, |shape| shape.queues);
        while self.queues.len() < wanted {
            self.queues.push(Queue::default());
        }
        while self.queues.len() > wanted && self.queues.last().is_some_and(Queue::is_idle) {
            self.queues.pop();
        }
        self.shape = shape;
        self.seats = seats;
    }

    pub fn set_seats(&mut self, seats: u32) {
        self.seats = seats;
    }

    /// Whether what cannot run at once may wait.
    pub fn may_wait(&self) -> bool {
        self.shape.is_some()
    }

    #[cfg(test)]
    pub fn running(&self) -> u32 {
        self.running
    }

    #[cfg(test)]
    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    pub fn take_demand(&mut self) -> u32 {
        std::mem::replace(&mut self.most, self.running + self.wanted)
    }

    /// Whether so many seats are free. What is wider than all of them gets them when nobody else has any.
    fn fits(&self, width: u32) -> bool {
        self.running == 0 && self.seats > 0 || width <= self.seats.saturating_sub(self.running)
    }

    /// Finds a place for a request of the flow with this hash, which needs so many seats.
    pub fn add(&mut self, ticket: Ticket, hash: u64, width: u32) -> Place {
        let free = self.fits(width);
        let Some(shape) = self.shape else {
            return if free { self.start(0, width) } else { Place::Full };
        };
        let hand = deal(hash, shape.queues, shape.hand);
        let load = |place: &usize| (self.queues[*place].waiting.len(), self.queues[*place].running);
        let chosen = hand.into_iter().min_by_key(load).unwrap_or(0);
        if free && self.waiting == 0 {
            return self.start(chosen, width);
        }
        if self.queues[chosen].waiting.len() >= shape.length {
            return Place::Full;
        }
        self.enter(chosen);
        self.queues[chosen].waiting.push_back((ticket, width));
        self.waiting += 1;
        self.wanted += width;
        self.most = self.most.max(self.running + self.wanted);
        Place::Wait
    }

    /// A queue that was idle has no claim on the time in which it was.
    fn enter(&mut self, place: usize) {
        if self.queues[place].is_idle() {
            let active = self.queues.iter().filter(|queue| !queue.is_idle()).map(|queue| queue.served);
            self.queues[place].served = active.fold(f64::INFINITY, f64::min);
            if !self.queues[place].served.is_finite() {
                self.queues[place].served = 0.0;
            }
        }
    }

    fn start(&mut self, place: usize, width: u32) -> Place {
        self.enter(place);
        self.queues[place].running += width;
        self.queues[place].served += ESTIMATE * f64::from(width);
        self.running += width;
        self.most = self.most.max(self.running + self.wanted);
        Place::Run(place)
    }

    /// A request that had so many seats on the account of `place` for so many seconds has given them back.
    pub fn ended(&mut self, place: usize, width: u32, seconds: f64) {
        self.running -= width;
        if let Some(queue) = self.queues.get_mut(place) {
            queue.running -= width;
            queue.served += (seconds - ESTIMATE) * f64::from(width);
        }
    }

    /// The next to run, with its queue and its width: the first of the queue that has had least. Where it needs more
    /// seats than are free nobody passes it by: it would wait for ever.
    pub fn next(&mut self) -> Option<(Ticket, usize, u32)> {
        let ready = self.queues.iter().enumerate().filter(|(_, queue)| !queue.waiting.is_empty());
        let (place, _) = ready.min_by(|(_, a), (_, b)| a.served.total_cmp(&b.served))?;
        let (ticket, width) = *self.queues[place].waiting.front()?;
        if !self.fits(width) {
            return None;
        }
        self.queues[place].waiting.pop_front();
        self.waiting -= 1;
        self.wanted -= width;
        self.start(place, width);
        Some((ticket, place, width))
    }

    /// Takes out a request that waits no longer; whether it was still waiting.
    pub fn forget(&mut self, ticket: Ticket) -> bool {
        for queue in &mut self.queues {
            let place = queue.waiting.iter().position(|(waiting, _)| *waiting == ticket);
            if let Some((_, width)) = place.and_then(|place| queue.waiting.remove(place)) {
                self.waiting -= 1;
                self.wanted -= width;
                return true;
            }
        }
        false
    }
}

/// Deals `hand` different cards out of `deck` by the digits of the hash.
fn deal(mut hash: u64, deck: usize, hand: usize) -> Vec<usize> {
    let mut cards: Vec<usize> = Vec::with_capacity(hand);
    for dealt in 0..hand.min(deck) {
        let left = (deck - dealt) as u64;
        let mut card = usize::try_from(hash % left).unwrap_or_default();
        hash /= left;
        let mut taken = cards.clone();
        taken.sort_unstable();
        for other in taken {
            if other <= card {
                card += 1;
            }
        }
        cards.push(card);
    }
    cards
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(seats: u32, shape: Option<Shape>) -> Queues {
        let mut queues = Queues::default();
        queues.configure(shape, seats);
        queues
    }

    const SHAPE: Shape = Shape { queues: 8, hand: 2, length: 3 };

    #[test]
    fn a_hand_has_different_cards_of_the_deck() {
        for hash in [0, 1, 77, u64::MAX, 0x1234_5678_9abc_def0] {
            let mut cards = deal(hash, 8, 8);
            cards.sort_unstable();
            assert_eq!(cards, (0..8).collect::<Vec<_>>());
            assert_eq!(deal(hash, 64, 6), deal(hash, 64, 6));
        }
    }

    #[test]
    fn without_queues_what_cannot_run_is_refused() {
        let mut queues = queues(1, None);
        assert_eq!(queues.add(1, 5, 1), Place::Run(0));
        assert_eq!(queues.add(2, 5, 1), Place::Full);
        queues.ended(0, 1, 1.0);
        assert_eq!(queues.add(3, 5, 1), Place::Run(0));
    }

    #[test]
    fn a_flow_fills_its_own_queues_only() {
        let mut queues = queues(1, Some(SHAPE));
        assert!(matches!(queues.add(0, 0, 1), Place::Run(_)));
        let filled = (1..).take_while(|ticket| queues.add(*ticket, 0, 1) == Place::Wait).count();
        assert_eq!(filled, SHAPE.hand * SHAPE.length);
        // Another flow, whose hand is another one, still gets a place.
        assert_eq!(queues.add(100, 3 + 8 * 5, 1), Place::Wait);
        assert_eq!(queues.waiting(), 7);
    }

    #[test]
    fn a_quiet_flow_is_not_kept_waiting_behind_a_busy_one() {
        let mut queues = queues(1, Some(Shape { queues: 8, hand: 1, length: 50 }));
        let Place::Run(mut place) = queues.add(0, 0, 1) else { panic!("a seat was free") };
        for ticket in 1..20 {
            queues.add(ticket, 0, 1);
        }
        queues.add(100, 1, 1);
        queues.add(101, 1, 1);
        let mut order = Vec::new();
        for _ in 0..4 {
            queues.ended(place, 1, 1.0);
            let (ticket, next, _) = queues.next().expect("somebody waits");
            order.push(ticket);
            place = next;
        }
        assert!(order.contains(&100) && order.contains(&101), "{order:?}");
        assert_eq!(queues.take_demand(), 22);
        assert_eq!(queues.next(), None);
    }

    #[test]
    fn who_gives_up_frees_the_place() {
        let mut queues = queues(0, Some(SHAPE));
        assert_eq!(queues.add(1, 0, 1), Place::Wait);
        assert!(queues.forget(1) && !queues.forget(1));
        queues.set_seats(1);
        assert_eq!(queues.next(), None);
    }

    #[test]
    fn wide_requests_wait_for_all_of_their_seats() {
        let mut queues = queues(4, Some(SHAPE));
        assert!(matches!(queues.add(1, 0, 3), Place::Run(_)));
        assert_eq!(queues.add(2, 0, 2), Place::Wait);
        // What would fit does not pass by who waits.
        assert_eq!(queues.add(3, 3 + 8 * 5, 1), Place::Wait);
        assert_eq!((queues.next(), queues.running()), (None, 3));
        assert_eq!(queues.take_demand(), 6);
    }

    #[test]
    fn what_is_wider_than_all_seats_runs_alone() {
        let mut queues = queues(4, Some(SHAPE));
        let Place::Run(place) = queues.add(1, 0, 9) else { panic!("nobody else runs") };
        assert_eq!(queues.add(2, 0, 1), Place::Wait);
        queues.ended(place, 9, 1.0);
        assert_eq!(queues.next().map(|(ticket, _, width)| (ticket, width)), Some((2, 1)));
        assert_eq!(queues.add(3, 0, 9), Place::Wait);
        assert_eq!(queues.next(), None);
    }
}
