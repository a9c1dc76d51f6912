//! A page, taken apart: the little of Markdown that pages are written in.
//!
//! A title, sections with headings, and in these paragraphs, lists and code between fences. In paragraphs and
//! lists, code stands between backticks.

/// The headings that every page has, in their order.
pub const HEADINGS: [&str; 6] =
    ["What it means", "How it is decided", "What it is not", "Usual causes", "How to cure it", "Related codes"];

/// The heading of the section that names other codes, each at the beginning of an item.
pub const RELATED: &str = HEADINGS[5];

/// What begins and ends a block of code.
const FENCE: &str = "```";

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<'a> {
    /// The code that it is about.
    pub title: &'a str,
    /// Its sections, in their order.
    pub sections: Vec<Section<'a>>,
}

/// A part of a page, below a heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section<'a> {
    /// Its heading.
    pub heading: &'a str,
    /// What stands below it.
    pub blocks: Vec<Block<'a>>,
}

/// What a section consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block<'a> {
    /// A paragraph, in one line.
    Paragraph(String),
    /// An item of a list, in one line.
    Item(String),
    /// Lines of code, as they are.
    Code(Vec<&'a str>),
}

impl<'a> Page<'a> {
    /// Takes the text of a page apart.
    pub fn read(text: &'a str) -> Self {
        let mut parts = text.split("\n## ");
        let title = parts.next().unwrap_or_default().trim().trim_start_matches("# ");
        Self { title, sections: parts.map(Section::read).collect() }
    }

    /// The codes that it names as related, as they stand there.
    pub fn related(&self) -> impl Iterator<Item = &str> {
        let related = self.sections.iter().filter(|section| section.heading == RELATED);
        related.flat_map(|section| &section.blocks).filter_map(|block| match block {
            Block::Item(item) => item.split('`').nth(1),
            Block::Paragraph(_) | Block::Code(_) => None,
        })
    }
}

impl<'a> Section<'a> {
    fn read(text: &'a str) -> Self {
        let (heading, body) = text.split_once('\n').unwrap_or((text, ""));
        let mut section = Self { heading: heading.trim(), blocks: Vec::new() };
        let mut lines = body.lines();
        let mut is_new = true;
        while let Some(line) = lines.next() {
            match line.trim() {
                "" => is_new = true,
                fence if fence.starts_with(FENCE) => {
                    section.blocks.push(Block::Code(lines.by_ref().take_while(|line| *line != FENCE).collect()));
                    is_new = true;
                }
                words => {
                    section.take(words, is_new);
                    is_new = false;
                }
            }
        }
        section
    }

    /// Takes a line of a paragraph or item in: a new one's, or the next of the last one.
    fn take(&mut self, words: &str, is_new: bool) {
        match (words.strip_prefix("- "), self.blocks.last_mut()) {
            (Some(item), _) => self.blocks.push(Block::Item(item.to_owned())),
            (None, Some(Block::Paragraph(text) | Block::Item(text))) if !is_new => {
                text.push(' ');
                text.push_str(words);
            }
            (None, _) => self.blocks.push(Block::Paragraph(words.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_taken_apart_into_sections_and_blocks() {
        let page = Page::read(
            "# a-code\n\n## What it means\nOne\nparagraph.\n\nAnother one:\n- an item\n  of two lines\n- a second\n\
             ```js\nif (a) {\n\n  b();\n```\nThe end.\n\n## Related codes\n- `span-missing`: `x`\n- `span-late`: y\n",
        );
        assert_eq!((page.title, page.sections.len()), ("a-code", 2));
        assert_eq!(
            page.sections[0].blocks,
            [
                Block::Paragraph("One paragraph.".to_owned()),
                Block::Paragraph("Another one:".to_owned()),
                Block::Item("an item of two lines".to_owned()),
                Block::Item("a second".to_owned()),
                Block::Code(vec!["if (a) {", "", "  b();"]),
                Block::Paragraph("The end.".to_owned()),
            ]
        );
        assert_eq!(page.related().collect::<Vec<_>>(), ["span-missing", "span-late"]);
    }

    #[test]
    fn text_that_is_no_page_has_no_sections() {
        assert_eq!(Page::read(""), Page { title: "", sections: Vec::new() });
    }
}
