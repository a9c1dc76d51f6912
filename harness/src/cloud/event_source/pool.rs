//! The environments of a mapping: those that are idle, and how many are busy.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::activity::Gauge;
use super::spec::{Behaviour, Choice};

/// Why an environment is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It was started when it was needed, and goes when it is not.
    OnDemand,
    /// It is kept ready, and replaced when it is gone (provisioned concurrency).
    Provisioned,
}

/// An environment of the pool's.
#[derive(Debug)]
pub(super) struct Pooled<E> {
    pub(super) environment: E,
    pub(super) purpose: Purpose,
}

/// The environments.
#[derive(Debug)]
pub(super) struct Pool<E> {
    state: Mutex<State<E>>,
    choice: Choice,
    reserved_concurrency: Option<u32>,
    gauge: Arc<Gauge>,
    /// Wakes whoever waits for an environment to have been idle for too long.
    came: Notify,
}

#[derive(Debug)]
struct State<E> {
    provisioned: Idle<E>,
    on_demand: Idle<E>,
    /// How many are busy, or on their way to be.
    busy: u32,
    /// How many provisioned ones are gone and not replaced.
    vacancies: u32,
    random: StdRng,
}

/// Idle environments with the instant since which they are, those first that have been for longest.
#[derive(Debug)]
struct Idle<E>(VecDeque<(Instant, E)>);

impl<E> Pool<E> {
    /// A pool without any environment.
    pub(super) fn new(behaviour: &Behaviour, gauge: Arc<Gauge>) -> Self {
        let seed = match behaviour.choice {
            Choice::Random { seed } => seed,
            Choice::MostRecentlyUsed | Choice::LeastRecentlyUsed => 0,
        };
        let state = State {
            provisioned: Idle(VecDeque::new()),
            on_demand: Idle(VecDeque::new()),
            busy: 0,
            vacancies: 0,
            random: StdRng::seed_from_u64(seed),
        };
        Self {
            state: Mutex::new(state),
            choice: behaviour.choice,
            reserved_concurrency: behaviour.reserved_concurrency,
            gauge,
            came: Notify::new(),
        }
    }

    /// The permission to keep one more environment busy, unless the reserved concurrency is used up.
    pub(super) fn seat(&self) -> Option<Seat<'_, E>> {
        let mut state = self.lock();
        if self.reserved_concurrency.is_some_and(|reserved| state.busy >= reserved) {
            return None;
        }
        state.busy += 1;
        Some(Seat(self))
    }

    /// An idle environment, of the provisioned ones if there is one.
    pub(super) fn take(&self) -> Option<Pooled<E>> {
        self.change(|State { provisioned, on_demand, random, .. }| {
            let pooled = |purpose| move |environment| Pooled { environment, purpose };
            let provisioned = provisioned.take(self.choice, random).map(pooled(Purpose::Provisioned));
            provisioned.or_else(|| on_demand.take(self.choice, random).map(pooled(Purpose::OnDemand)))
        })
    }

    /// An environment is idle from now on.
    pub(super) fn put(&self, Pooled { environment, purpose }: Pooled<E>) {
        let now = Instant::now();
        self.change(|state| state.of(purpose).0.push_back((now, environment)));
        self.came.notify_one();
    }

    /// An environment is gone.
    pub(super) fn lose(&self, purpose: Purpose) {
        if purpose == Purpose::Provisioned {
            self.lock().vacancies += 1;
        }
    }

    /// Whether a provisioned environment is to be replaced; to be done by whoever asked.
    pub(super) fn take_vacancy(&self) -> bool {
        let mut state = self.lock();
        let vacancies = state.vacancies.checked_sub(1);
        state.vacancies = vacancies.unwrap_or_default();
        vacancies.is_some()
    }

    /// Waits for environments that were started on demand and have been idle for so long.
    pub(super) async fn expired(&self, idle_timeout: Duration) -> Vec<E> {
        loop {
            let (expired, next) = self.take_expired(idle_timeout);
            if !expired.is_empty() {
                return expired;
            }
            match next {
                // None that comes in the meantime is due any earlier.
                Some(due) => tokio::time::sleep_until(due).await,
                None => self.came.notified().await,
            }
        }
    }

    /// Those that are due, and when the next one will be.
    fn take_expired(&self, idle_timeout: Duration) -> (Vec<E>, Option<Instant>) {
        let now = Instant::now();
        self.change(|State { on_demand: Idle(idle), .. }| {
            let due = idle.partition_point(|(since, _)| *since + idle_timeout <= now);
            let expired = idle.drain(..due).map(|(_, environment)| environment).collect();
            (expired, idle.front().map(|(since, _)| *since + idle_timeout))
        })
    }

    /// All that are idle.
    pub(super) fn drain(&self) -> Vec<E> {
        self.change(|State { provisioned, on_demand, .. }| {
            provisioned.0.drain(..).chain(on_demand.0.drain(..)).map(|(_, environment)| environment).collect()
        })
    }

    /// Changes which environments are idle.
    fn change<T>(&self, change: impl FnOnce(&mut State<E>) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        self.gauge.set_idle_environments(state.provisioned.0.len() + state.on_demand.0.len());
        result
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E> State<E> {
    fn of(&mut self, purpose: Purpose) -> &mut Idle<E> {
        match purpose {
            Purpose::OnDemand => &mut self.on_demand,
            Purpose::Provisioned => &mut self.provisioned,
        }
    }
}

impl<E> Idle<E> {
    fn take(&mut self, choice: Choice, random: &mut StdRng) -> Option<E> {
        let (_, environment) = match choice {
            _ if self.0.is_empty() => None,
            Choice::MostRecentlyUsed => self.0.pop_back(),
            Choice::LeastRecentlyUsed => self.0.pop_front(),
            Choice::Random { .. } => self.0.remove(random.random_range(..self.0.len())),
        }?;
        Some(environment)
    }
}

/// The permission to keep one environment busy, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat<'a, E>(&'a Pool<E>);

impl<E> Drop for Seat<'_, E> {
    fn drop(&mut self) {
        self.0.lock().busy -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(behaviour: Behaviour) -> Pool<u32> {
        Pool::new(&behaviour, Arc::default())
    }

    fn choosing(choice: Choice) -> Pool<u32> {
        pool(Behaviour { choice, ..Behaviour::default() })
    }

    fn on_demand(environment: u32) -> Pooled<u32> {
        Pooled { environment, purpose: Purpose::OnDemand }
    }

    fn taken(pool: &Pool<u32>) -> Vec<u32> {
        std::iter::from_fn(|| pool.take()).map(|pooled| pooled.environment).collect()
    }

    #[test]
    fn most_recently_used_environment_is_taken_first() {
        let pool = choosing(Choice::MostRecentlyUsed);
        (1..=3).for_each(|number| pool.put(on_demand(number)));
        assert_eq!(taken(&pool), [3, 2, 1]);
    }

    #[test]
    fn least_recently_used_environment_is_taken_first() {
        let pool = choosing(Choice::LeastRecentlyUsed);
        (1..=3).for_each(|number| pool.put(on_demand(number)));
        assert_eq!(pool.take().unwrap().environment, 1);
        pool.put(on_demand(1));
        assert_eq!(taken(&pool), [2, 3, 1]);
    }

    #[test]
    fn random_choice_is_that_of_its_seed() {
        let order = |seed| {
            let pool = choosing(Choice::Random { seed });
            (0..100).for_each(|number| pool.put(on_demand(number)));
            taken(&pool)
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        let mut all = order(1);
        assert!(!all.is_sorted() && !all.iter().rev().is_sorted());
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn provisioned_environment_is_taken_before_others_and_replaced_when_it_is_gone() {
        let pool = choosing(Choice::MostRecentlyUsed);
        pool.put(Pooled { environment: 1, purpose: Purpose::Provisioned });
        pool.put(on_demand(2));
        assert_eq!(taken(&pool), [1, 2]);
        pool.lose(Purpose::OnDemand);
        assert!(!pool.take_vacancy());
        pool.lose(Purpose::Provisioned);
        assert!(pool.take_vacancy());
        assert!(!pool.take_vacancy());
    }

    #[test]
    fn no_more_environments_are_busy_than_reserved() {
        let pool = pool(Behaviour { reserved_concurrency: Some(1), ..Behaviour::default() });
        let seat = pool.seat().unwrap();
        assert!(pool.seat().is_none());
        drop(seat);
        assert!(pool.seat().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn environment_is_idle_for_exactly_its_time() {
        let pool = pool(Behaviour::default());
        let (timeout, start) = (Duration::from_secs(300), Instant::now());
        for (seconds, environment) in [(0, 1), (10, 2), (20, 3)] {
            tokio::time::sleep_until(start + Duration::from_secs(seconds)).await;
            pool.put(on_demand(environment));
        }
        assert_eq!(pool.expired(timeout).await, [1]);
        assert_eq!(start.elapsed(), timeout);
        pool.take().unwrap();
        assert_eq!(pool.expired(timeout).await, [2], "3 is busy");
        assert_eq!(start.elapsed(), timeout + Duration::from_secs(10));
        pool.put(on_demand(3));
        assert_eq!(pool.expired(timeout).await, [3], "its time has begun anew");
        assert_eq!(start.elapsed(), timeout * 2 + Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn first_environment_to_come_is_waited_for() {
        let pool = pool(Behaviour::default());
        let timeout = Duration::from_secs(300);
        let comes = async {
            tokio::time::sleep(timeout * 2).await;
            pool.put(on_demand(1));
            Instant::now()
        };
        let (expired, came) = tokio::join!(pool.expired(timeout), comes);
        assert_eq!((expired, came.elapsed()), (vec![1], timeout));
    }

    #[tokio::test(start_paused = true)]
    async fn provisioned_environment_is_never_idle_for_too_long() {
        let pool = pool(Behaviour::default());
        pool.put(Pooled { environment: 1, purpose: Purpose::Provisioned });
        let patience = Duration::from_secs(86_400);
        assert!(tokio::time::timeout(patience, pool.expired(Duration::from_secs(1))).await.is_err());
        assert_eq!(pool.drain(), [1]);
    }
}
