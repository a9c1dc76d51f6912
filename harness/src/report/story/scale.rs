//! The scale of the bars: time from left to right, with the stretches left out in which no span lasted.

use std::time::Duration;

use verifier::Timestamp;

use crate::story::model::StorySpan;

/// From how long on a stretch without a span is left out.
const LEFT_OUT: Duration = Duration::from_millis(100);

/// What stands for such a stretch.
const BREAK: &str = " ~ ";

/// The most stretches that are left out: where spans are spread evenly, nothing is gained.
const MOST_BREAKS: usize = 4;

/// How instants become columns.
#[derive(Debug)]
pub(super) struct Scale {
    /// When spans lasted, from and to, without what is left out.
    stretches: Vec<(Timestamp, Timestamp)>,
    columns: usize,
}

impl Scale {
    /// A scale for these spans, in that many columns.
    pub(super) fn new(spans: &[StorySpan], columns: usize) -> Self {
        let mut lasted: Vec<_> =
            spans.iter().map(|seen| (seen.span.start, seen.span.end.max(seen.span.start))).collect();
        lasted.sort_unstable();
        let mut stretches: Vec<(Timestamp, Timestamp)> = Vec::new();
        for (start, end) in lasted {
            match stretches.last_mut() {
                Some((_, last)) if start.since(*last) < LEFT_OUT => *last = end.max(*last),
                _ => stretches.push((start, end)),
            }
        }
        if stretches.len() > MOST_BREAKS + 1
            && let (Some((first, _)), Some((_, last))) = (stretches.first().copied(), stretches.last().copied())
        {
            stretches = vec![(first, last)];
        }
        Self { stretches, columns }
    }

    /// A bar from start to end; at least one column of it is filled.
    pub(super) fn bar(&self, start: Timestamp, end: Timestamp) -> String {
        let widths = self.widths();
        let drawn = self.stretches.iter().zip(widths).map(|(&(from, to), width)| {
            let cell = |at: Timestamp| cell(from, to, at, width);
            let is_in = start <= to && end >= from;
            let first = cell(start).min(width.saturating_sub(1));
            let last = cell(end).max(first + 1);
            (0..width).map(|place| if is_in && (first..last).contains(&place) { '█' } else { '·' }).collect::<String>()
        });
        drawn.collect::<Vec<_>>().join(BREAK)
    }

    /// How many columns each stretch has: by its length, and at least one.
    fn widths(&self) -> Vec<usize> {
        let count = self.stretches.len();
        let free = self.columns.saturating_sub(count.saturating_sub(1) * BREAK.len() + count);
        let length = |(from, to): &(Timestamp, Timestamp)| to.since(*from).as_nanos();
        let total = self.stretches.iter().map(length).sum::<u128>().max(1);
        let share = |stretch| usize::try_from(length(stretch) * free as u128 / total).unwrap_or(free);
        let mut widths: Vec<_> = self.stretches.iter().map(|stretch| 1 + share(stretch)).collect();
        let rest = (free + count).saturating_sub(widths.iter().sum());
        // What rounding has left goes to the widest.
        if let Some(widest) = widths.iter_mut().max() {
            *widest += rest;
        }
        widths
    }
}

/// The column of an instant in a stretch.
fn cell(from: Timestamp, to: Timestamp, at: Timestamp, width: usize) -> usize {
    let length = to.since(from).as_nanos().max(1);
    usize::try_from(at.since(from).as_nanos() * width as u128 / length).unwrap_or(width).min(width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::Story;
    use crate::story::tests::{Tale, at, producer};

    /// A story with one span for each of these stretches, in milliseconds.
    fn bars(columns: usize, spans: &[(u64, u64)]) -> Vec<String> {
        let mut tale = Tale::begun();
        tale.accept(0, 0);
        let span = |(number, &(from, to)): (u32, &(u64, u64))| verifier::Span {
            trace_id: crate::story::tests::trace(0),
            ..producer(number, from * 1_000, to * 1_000)
        };
        tale.export_from_api(1, (0..).zip(spans).map(span).collect());
        let story: Story = tale.story(0);
        let scale = Scale::new(&story.spans, columns);
        spans.iter().map(|&(from, to)| scale.bar(at(from * 1_000), at(to * 1_000))).collect()
    }

    #[test]
    fn bars_stand_on_one_scale() {
        assert_eq!(bars(10, &[(0, 10), (2, 5), (9, 10)]), ["██████████", "··███·····", "·········█"]);
    }

    #[test]
    fn span_that_is_too_short_for_a_column_has_one() {
        assert_eq!(bars(4, &[(0, 80), (41, 41), (80, 80)]), ["████", "··█·", "···█"]);
        assert_eq!(bars(4, &[(5, 5)]), ["█···"]);
    }

    #[test]
    fn stretch_without_spans_is_left_out_from_100_ms_on() {
        // 10 columns, 3 for the break: 7 for 10 ms and 10 ms, one of them at least for each.
        assert_eq!(bars(9, &[(0, 10), (110, 120)]), ["███ ~ ···", "··· ~ ███"]);
        assert_eq!(bars(12, &[(0, 10), (109, 120)]), ["█···········", "··········██"]);
    }

    #[test]
    fn nothing_is_left_out_where_spans_are_spread_all_over() {
        let spread: Vec<_> = (0..6).map(|number| (number * 1_000, number * 1_000 + 1)).collect();
        let drawn = bars(12, &spread);
        assert!(drawn.iter().all(|bar| bar.chars().count() == 12 && !bar.contains('~')), "{drawn:?}");
    }
}
