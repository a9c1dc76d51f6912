//! Runs and what must hold of them, for many seeds; the first that fails is made as small as it can be.

use std::ops::Range;

use verifier::tally::Equation;
use verifier::{Conclusion, Event, FindingCode, Judgement, Verifier};

use super::system::System;
use super::truth::{Truth, tally_lines};
use super::world::{Plan, World};

/// A run with its judgement.
pub(crate) struct Run {
    pub(crate) system: System,
    pub(crate) plan: Plan,
    pub(crate) seed: u64,
    pub(crate) events: Vec<Event>,
    pub(crate) truth: Truth,
    pub(crate) judgement: Judgement,
}

impl Run {
    pub(crate) fn new(system: System, plan: Plan, seed: u64) -> Self {
        let mut world = World::new(&system, plan, seed);
        let events: Vec<_> = world.by_ref().collect();
        let truth = world.truth().clone();
        let judgement = judge(&events);
        Self { system, plan, seed, events, truth, judgement }
    }

    /// There is no finding, but for those that may be.
    pub(crate) fn finds_nothing_but(&self, may_be: impl Fn(FindingCode) -> bool) -> Result<(), String> {
        let found: Vec<_> = self.judgement.findings.iter().filter(|finding| !may_be(finding.code)).collect();
        if found.is_empty() { Ok(()) } else { Err(format!("{found:#?}")) }
    }

    /// The verifier's counts are those of the world, and its books balance.
    pub(crate) fn counts_the_truth(&self) -> Result<(), String> {
        let (counted, truth) = (tally_lines(&self.judgement.tally), self.truth.lines());
        let differ: Vec<_> = truth.iter().filter(|line| !counted.contains(line)).collect();
        if !differ.is_empty() || counted.len() != truth.len() {
            return Err(format!("the truth is {differ:?}\ncounted was {counted:?}"));
        }
        books_balance(&self.judgement)
    }

    pub(crate) fn passes(&self) -> Result<(), String> {
        match self.judgement.conclusion {
            Conclusion::Passed => Ok(()),
            // With so few requests, it may be that none was accepted.
            Conclusion::NothingVerified => Ok(()),
            other => Err(format!("{other:?}: {:?}", self.judgement.doubts)),
        }
    }
}

/// Judges a journal.
pub(crate) fn judge(events: &[Event]) -> Judgement {
    let mut verifier = Verifier::default();
    events.iter().for_each(|event| verifier.handle(event));
    verifier.judgement()
}

/// Identities balance, and statements leave no rest.
pub(crate) fn books_balance(judgement: &Judgement) -> Result<(), String> {
    let mut equations = judgement.identities.iter().chain(&judgement.statements);
    equations.find(|equation| !Equation::balances(equation)).map_or(Ok(()), |equation| Err(format!("{equation:?}")))
}

/// Checks a property of the runs of many seeds.
#[track_caller]
pub(crate) fn for_seeds(
    seeds: Range<u64>,
    drawn: impl Fn(u64) -> (System, Plan),
    property: impl Fn(&Run) -> Result<(), String>,
) {
    let check = |seed: u64, requests: Option<u32>| {
        let (system, plan) = drawn(seed);
        let plan = Plan { requests: requests.unwrap_or(plan.requests), ..plan };
        let run = Run::new(system, plan, seed);
        property(&run).map_err(|why| Box::new((run, why)))
    };
    for seed in seeds {
        let Err(failed) = check(seed, None) else { continue };
        let smaller = (1..=failed.0.plan.requests).find_map(|requests| check(seed, Some(requests)).err());
        let (run, why) = *smaller.unwrap_or_else(|| panic!("seed {seed} fails and then does not"));
        panic!("seed {seed} with {} requests of {}: {why}", run.plan.requests, outline(&run.system));
    }
}

/// A system in a few lines.
pub(crate) fn outline(system: &System) -> String {
    let line = |role: &super::system::Role| {
        let (parent, link) = (role.span.parent.as_deref().unwrap_or("-"), role.span.link.as_deref().unwrap_or("-"));
        format!("\n  {} {} {:?} parent={parent} link={link}", role.name, role.span.kind, role.span.per)
    };
    let (echoes, shows) = (system.echoes, system.shows_requests);
    format!("echoes={echoes} shows_requests={shows}{}\n", system.roles.iter().map(line).collect::<String>())
}
