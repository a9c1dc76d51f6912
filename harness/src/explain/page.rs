//! The pages: what a finding means, how it is decided, what usually causes it, and what helps.

use verifier::FindingCode;

/// Embeds the page of each code.
macro_rules! pages {
    ($($code:literal,)*) => {
        &[$(($code, include_str!(concat!("pages/", $code, ".md"))),)*]
    };
}

/// The pages, by the texts of their codes.
const PAGES: &[(&str, &str)] = pages![
    "process-died",
    "stop-ignored",
    "export-unauthenticated",
    "export-rejected",
    "export-open-at-freeze",
    "late-by-thaw",
    "flush-slow",
    "carrier-missing",
    "carrier-malformed",
    "carrier-mismatch",
    "carriers-conflict",
    "trace-missing",
    "cold-start-loss",
    "tail-loss",
    "burst-loss",
    "span-missing",
    "unsampled",
    "span-unexpected",
    "span-foreign",
    "match-ambiguous",
    "id-invalid",
    "trace-id-collision",
    "span-conflict",
    "trace-fragmented",
    "parent-cross-request",
    "self-parent",
    "parent-cycle",
    "phantom-parent",
    "parent-lost",
    "parent-open",
    "parent-wrong",
    "root-multiple",
    "link-missing",
    "link-dangling",
    "remote-flag-missing",
    "kind-wrong",
    "kind-pair",
    "name-wrong",
    "status-wrong",
    "attribute-missing",
    "attribute-wrong",
    "resource-missing",
    "attributes-dropped",
    "secret-exposed",
    "duration-negative",
    "time-future",
    "time-epoch",
    "clock-disordered",
    "span-across-freeze",
    "duration-exceeded",
    "span-duplicated",
    "span-late",
];

/// The headings of every page, after what the finding means.
pub const HEADINGS: [&str; 4] = ["How it is decided", "What usually causes it", "What helps", "See also"];

/// The page on a code, in Markdown.
pub fn page(code: FindingCode) -> &'static str {
    PAGES.iter().find(|(known, _)| *known == code.as_str()).map_or("", |(_, page)| page)
}

/// The parts of a page: what the finding means, without a heading, and then each heading with what is below it.
pub fn parts(page: &str) -> impl Iterator<Item = (Option<&str>, &str)> {
    page.split("\n## ").enumerate().map(|(number, part)| match part.split_once('\n') {
        Some((heading, text)) if number > 0 => (Some(heading), text.trim()),
        _ => (None, part.trim()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_with_all_headings_and_none_of_them_empty() {
        assert_eq!(PAGES.len(), FindingCode::ALL.len());
        for code in FindingCode::ALL {
            let parts: Vec<_> = parts(page(*code)).collect();
            let headings: Vec<_> = parts.iter().filter_map(|(heading, _)| *heading).collect();
            assert_eq!(headings, HEADINGS, "{code}");
            assert!(parts.iter().all(|(_, text)| text.len() > 5), "{code}: {parts:?}");
        }
    }

    #[test]
    fn every_code_that_a_page_refers_to_is_there_and_another_one() {
        for code in FindingCode::ALL {
            let (_, others) = parts(page(*code)).last().unwrap();
            for other in others.split_whitespace() {
                assert!(other.parse::<FindingCode>().is_ok_and(|other| other != *code), "{code} refers to {other}");
            }
        }
    }
}
