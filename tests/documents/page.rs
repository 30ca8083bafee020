//! Finds the fenced blocks of a document and the commands in them.

use serde_json::Value;

/// A document.
pub(crate) struct Page {
    /// Its file name without the extension.
    pub(crate) name: &'static str,
    text: &'static str,
}

/// A fenced block, without the indentation that it has in a list.
pub(crate) struct Block {
    /// The line number of its opening fence, from 1.
    pub(crate) line: usize,
    /// The text after the opening fence.
    pub(crate) info: String,
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn read(name: &'static str, text: &'static str) -> Page {
        Page { name, text }
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block> {
        let mut lines = self.text.lines().enumerate();
        std::iter::from_fn(move || {
            let (line, indent, info) = lines.find_map(|(at, line)| {
                let (indent, info) = line.split_once("```")?;
                indent.trim().is_empty().then_some((at + 1, indent, info))
            })?;
            let inside = lines
                .by_ref()
                .map(|(_, line)| line.strip_prefix(indent).unwrap_or(line))
                .take_while(|line| *line != "```");
            let text = inside.map(|line| format!("{line}\n")).collect();
            let info = info.to_owned();
            Some(Block { line, info, text })
        })
    }

    /// Returns the blocks with commands.
    pub(crate) fn console(&self) -> impl Iterator<Item = Block> {
        self.blocks()
            .filter(|block| block.info.starts_with("console"))
    }

    /// Returns the first block in this language.
    pub(crate) fn first(&self, language: &str) -> String {
        let found = self.blocks().find(|block| block.info == language);
        found.expect(language).text
    }

    /// Returns the JSON blocks; skips those that show a part of a file.
    pub(crate) fn json(&self) -> Vec<Value> {
        let blocks = self.blocks().filter(|block| block.info == "json");
        blocks
            .filter_map(|block| serde_json::from_str(&block.text).ok())
            .collect()
    }
}

impl Block {
    /// Returns the commands without their comments.
    pub(crate) fn commands(&self) -> Vec<&str> {
        let typed = self.text.lines().filter_map(|line| line.strip_prefix("$ "));
        typed
            .map(|line| line.split(" #").next().unwrap_or(line).trim_end())
            .collect()
    }

    /// Returns the first command.
    pub(crate) fn command(&self) -> &str {
        self.commands().first().expect("a command")
    }

    pub(crate) fn mentions(&self, words: &str) -> bool {
        self.commands()
            .iter()
            .any(|command| command.contains(words))
    }

    /// Returns true if trycmd skips the block.
    pub(crate) fn is_ignored(&self) -> bool {
        self.info == "console,ignore"
    }
}

/// Splits a command into words. Understands double quotes and nothing else of a shell's syntax.
pub(crate) fn words(command: &str) -> Vec<&str> {
    let parts = command.split('"').enumerate();
    let words = parts.flat_map(|(at, part)| match at % 2 {
        0 => part.split_whitespace().collect(),
        _ => vec![part],
    });
    words.filter(|word| *word != "…").collect()
}
