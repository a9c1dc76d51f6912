//! What must be there for every code of a finding: a page that explains it.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use harness::explain::page::{Block, HEADINGS};
use harness::explain::table::{GROUPS, page};
use verifier::FindingCode;

/// The least that a page has to say, in words.
const WORDS: usize = 120;

/// The names of the pages' files, without their ending.
fn files() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/explain/pages");
    let names = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    names.map(|name| name.strip_suffix(".md").unwrap_or_else(|| panic!("{name} is no page")).to_owned()).collect()
}

fn codes() -> BTreeSet<String> {
    FindingCode::ALL.iter().map(ToString::to_string).collect()
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    assert_eq!(files(), codes());
}

#[test]
fn every_code_stands_in_one_group_with_its_own_page() {
    let listed: Vec<_> = GROUPS.iter().flat_map(|group| group.pages).map(|(code, _)| code.to_string()).collect();
    assert_eq!(listed.len(), codes().len(), "a code stands in one group");
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), codes());
    for code in FindingCode::ALL {
        assert_eq!(page(*code).unwrap().title, code.as_str());
    }
}

#[test]
fn every_page_has_all_headings_and_no_empty_section() {
    for code in FindingCode::ALL {
        let page = page(*code).unwrap();
        let headings: Vec<_> = page.sections.iter().map(|section| section.heading).collect();
        assert_eq!(headings, HEADINGS, "{code}");
        let empty = page.sections.iter().find(|section| section.blocks.is_empty());
        assert!(empty.is_none(), "{code} says nothing of {:?}", empty.map(|section| section.heading));
    }
}

#[test]
fn every_page_has_something_to_say() {
    for code in FindingCode::ALL {
        let page = page(*code).unwrap();
        let words = |block: &Block<'_>| match block {
            Block::Paragraph(text) | Block::Item(text) => text.split_whitespace().count(),
            Block::Code(_) => 0,
        };
        let words: usize = page.sections.iter().flat_map(|section| &section.blocks).map(words).sum();
        assert!(words >= WORDS, "the page of {code} has {words} words");
    }
}

#[test]
fn code_on_a_page_is_closed() {
    for code in FindingCode::ALL {
        let page = page(*code).unwrap();
        for block in page.sections.iter().flat_map(|section| &section.blocks) {
            if let Block::Paragraph(text) | Block::Item(text) = block {
                assert_eq!(text.matches('`').count() % 2, 0, "{code}: {text}");
            }
        }
    }
}

#[test]
fn every_code_that_a_page_relates_to_exists_and_is_another() {
    for code in FindingCode::ALL {
        let page = page(*code).unwrap();
        for related in page.related() {
            let related: FindingCode = related.parse().unwrap_or_else(|error| panic!("the page of {code}: {error}"));
            assert_ne!(related, *code, "the page of {code} relates to itself");
        }
    }
}

#[test]
fn every_code_that_a_page_speaks_of_is_no_misspelt_one() {
    let codes = codes();
    let beginnings: BTreeSet<_> = codes.iter().filter_map(|code| code.split_once('-')).map(|(head, _)| head).collect();
    for code in FindingCode::ALL {
        let text =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/explain/pages/{code}.md")))
                .unwrap();
        let prose: String = text.split("```").step_by(2).collect();
        for word in prose.split('`').skip(1).step_by(2) {
            let is_like_a_code = word.split_once('-').is_some_and(|(head, tail)| {
                beginnings.contains(head) && tail.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            });
            assert!(!is_like_a_code || codes.contains(word), "{code} speaks of {word}");
        }
    }
}
