//! The language of nginx's configurations: words, quotes, blocks, comments and `include`.

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
};

/// How deep files may include each other, blocks stand in each other, and how many files there may be.
const INCLUDES_MAX: usize = 16;
const NESTED_MAX: usize = 64;
const FILES_MAX: usize = 4096;

/// One directive, with the block behind it.
#[derive(Debug)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) args: Vec<String>,
    pub(super) block: Option<Vec<Directive>>,
    /// `file:line`.
    pub(super) place: String,
    /// Something was made of it.
    pub(super) seen: Cell<bool>,
}

impl Directive {
    /// An argument; empty when there is none.
    pub(super) fn arg(&self, index: usize) -> &str {
        self.args.get(index).map_or("", String::as_str)
    }

    /// The directives in its block.
    pub(super) fn inside(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }

    /// It and all that stands in it were looked at.
    pub(super) fn take(&self) {
        self.seen.set(true);
        self.inside().iter().for_each(Self::take);
    }

    /// As it is written, without its block.
    pub(super) fn shown(&self) -> String {
        let mut all = vec![self.name.as_str()];
        all.extend(self.args.iter().map(String::as_str));
        all.join(" ").replace(" )", ")")
    }
}

/// Reads a file and what it includes.
pub(super) struct Reader {
    /// Relative paths of `include` start here, or in the folder around it: a file of `sites-enabled` names what lies there.
    folder: PathBuf,
    files: usize,
    /// Files that were not there.
    pub(super) notes: Vec<String>,
}

enum Token {
    Word(String),
    Open,
    Close,
    End,
}

struct Lexer<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
}

impl Reader {
    pub(super) fn new(file: &Path) -> Self {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let folder = file.parent().map(Path::to_owned).unwrap_or_default();
        Self { folder, files: 0, notes: Vec::new() }
    }

    /// The directives of a file.
    pub(super) fn file(&mut self, path: &Path, depth: usize) -> Result<Vec<Directive>, String> {
        let shown = path.display().to_string();
        self.files += 1;
        if depth > INCLUDES_MAX || self.files > FILES_MAX {
            return Err(format!("{shown}: files include each other too deep, or are too many"));
        }
        let text = fs::read(path).map_err(|error| format!("{shown}: {error}"))?;
        let text = String::from_utf8_lossy(&text);
        let mut lexer = Lexer { rest: text.chars().peekable(), line: 1 };
        self.block(&mut lexer, &shown, depth, 0)
    }

    fn block(
        &mut self,
        lexer: &mut Lexer<'_>,
        file: &str,
        depth: usize,
        nested: usize,
    ) -> Result<Vec<Directive>, String> {
        if nested > NESTED_MAX {
            return Err(format!("{file}:{}: blocks stand too deep in each other", lexer.line));
        }
        let mut found = Vec::new();
        let mut words: Vec<String> = Vec::new();
        let mut line = 0;
        loop {
            let token = lexer.next(file)?;
            let at = lexer.line;
            match token {
                Some(Token::Word(word)) => {
                    if words.is_empty() {
                        line = at;
                    }
                    words.push(word);
                }
                Some(Token::End) if words.is_empty() => {}
                Some(Token::End) => {
                    let made = directive(&mut words, None, format!("{file}:{line}"));
                    if made.name == "include" {
                        found.extend(self.include(made, depth)?);
                    } else {
                        found.push(made);
                    }
                }
                Some(Token::Open) => {
                    if words.is_empty() {
                        return Err(format!("{file}:{at}: a `{{` without a name before it"));
                    }
                    let inside = if words[0].ends_with("_by_lua_block") {
                        lexer.skip_block(file)?;
                        Vec::new()
                    } else {
                        self.block(lexer, file, depth, nested + 1)?
                    };
                    found.push(directive(&mut words, Some(inside), format!("{file}:{line}")));
                }
                Some(Token::Close) if nested == 0 => {
                    return Err(format!("{file}:{at}: a `}}` that closes nothing"));
                }
                Some(Token::Close) | None => {
                    if !words.is_empty() {
                        return Err(format!("{file}:{line}: `{}` has no `;`", words.join(" ")));
                    }
                    if token.is_none() && nested > 0 {
                        return Err(format!("{file}:{at}: a block is not closed by `}}`"));
                    }
                    return Ok(found);
                }
            }
        }
    }

    fn include(&mut self, include: Directive, depth: usize) -> Result<Vec<Directive>, String> {
        let own = self.folder.join(include.arg(0));
        let outer = self.folder.parent().map(|folder| folder.join(include.arg(0)));
        if !include.arg(0).contains(['*', '?', '[']) {
            let Some(path) = [Some(own.clone()), outer].into_iter().flatten().find(|path| path.is_file())
            else {
                self.notes.push(format!("{}: there is no `{}`; left out", include.place, own.display()));
                // It stays where it stood: what it holds may have guarded.
                include.seen.set(true);
                return Ok(vec![include]);
            };
            return self.file(&path, depth + 1);
        }
        let mut paths = globbed(&own)?;
        if let Some(outer) = outer.filter(|_| paths.is_empty()) {
            paths = globbed(&outer)?;
        }
        let mut found = Vec::new();
        for path in paths {
            found.extend(self.file(&path, depth + 1)?);
        }
        Ok(found)
    }
}

/// The files that a path with patterns names, in the order of the shell.
fn globbed(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let mut paths = vec![PathBuf::new()];
    for step in pattern.components() {
        let name = step.as_os_str().to_string_lossy().into_owned();
        if !name.contains(['*', '?', '[']) {
            paths.iter_mut().for_each(|path| path.push(step));
            continue;
        }
        let mut next = Vec::new();
        for folder in paths.iter().filter(|folder| folder.is_dir() || folder.as_os_str().is_empty()) {
            let shown = if folder.as_os_str().is_empty() { Path::new(".") } else { folder.as_path() };
            let told = |error: std::io::Error| format!("{}: {error}", shown.display());
            for entry in fs::read_dir(shown).map_err(told)? {
                let own = entry.map_err(told)?.file_name();
                let text = own.to_string_lossy();
                if (!text.starts_with('.') || name.starts_with('.')) && fits(&name, &text) {
                    next.push(folder.join(&own));
                }
            }
        }
        if next.len() > FILES_MAX {
            return Err(format!("{}: more than {FILES_MAX} files", pattern.display()));
        }
        paths = next;
    }
    paths.retain(|path| path.is_file());
    paths.sort();
    Ok(paths)
}

fn directive(words: &mut Vec<String>, block: Option<Vec<Directive>>, place: String) -> Directive {
    let mut words = std::mem::take(words).into_iter();
    let name = words.next().unwrap_or_default();
    Directive { name, args: words.collect(), block, place, seen: Cell::new(false) }
}

/// Whether a name fits a pattern of the shell: `*`, `?` and `[…]`.
fn fits(pattern: &str, name: &str) -> bool {
    let mut regex = String::from("^(?s:");
    for letter in pattern.chars() {
        match letter {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '!' if regex.ends_with('[') => regex.push('^'),
            '-' => regex.push('-'),
            '[' | ']' => regex.push(letter),
            letter => regex.push_str(&regex::escape(&letter.to_string())),
        }
    }
    regex.push_str(")$");
    regex::Regex::new(&regex).is_ok_and(|regex| regex.is_match(name))
}

impl Lexer<'_> {
    fn step(&mut self) -> Option<char> {
        let letter = self.rest.next()?;
        if letter == '\n' {
            self.line += 1;
        }
        Some(letter)
    }

    fn next(&mut self, file: &str) -> Result<Option<Token>, String> {
        loop {
            let Some(&letter) = self.rest.peek() else { return Ok(None) };
            match letter {
                letter if letter.is_whitespace() => drop(self.step()),
                '#' => while self.step().is_some_and(|letter| letter != '\n') {},
                ';' | '{' | '}' => {
                    self.step();
                    return Ok(Some(match letter {
                        ';' => Token::End,
                        '{' => Token::Open,
                        _ => Token::Close,
                    }));
                }
                '"' | '\'' => return self.quoted(letter, file).map(Some),
                _ => return Ok(Some(Token::Word(self.word()))),
            }
        }
    }

    fn quoted(&mut self, quote: char, file: &str) -> Result<Token, String> {
        let line = self.line;
        self.step();
        let mut word = String::new();
        loop {
            match self.step() {
                None => return Err(format!("{file}:{line}: a text is not closed by {quote}")),
                Some('\\') => self.escaped(&mut word),
                Some(letter) if letter == quote => return Ok(Token::Word(word)),
                Some(letter) => word.push(letter),
            }
        }
    }

    /// What stands behind a backslash: quotes and backslashes lose it, three letters mean something, all others keep it.
    fn escaped(&mut self, word: &mut String) {
        match self.step() {
            Some('t') => word.push('\t'),
            Some('r') => word.push('\r'),
            Some('n') => word.push('\n'),
            Some(letter @ ('"' | '\'' | '\\')) => word.push(letter),
            Some(letter) => {
                word.push('\\');
                word.push(letter);
            }
            None => word.push('\\'),
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(&letter) = self.rest.peek() {
            match letter {
                letter if letter.is_whitespace() => break,
                ';' => break,
                // `${name}` is one word.
                '{' if word.ends_with('$') => {
                    while let Some(letter) = self.step() {
                        word.push(letter);
                        if letter == '}' {
                            break;
                        }
                    }
                }
                '{' => break,
                '\\' => {
                    self.step();
                    self.escaped(&mut word);
                }
                letter => {
                    word.push(letter);
                    self.step();
                }
            }
        }
        word
    }

    /// Passes over a block in another language, whose braces must be in pairs.
    fn skip_block(&mut self, file: &str) -> Result<(), String> {
        let (line, mut open) = (self.line, 1);
        while open > 0 {
            match self.step() {
                None => return Err(format!("{file}:{line}: a block is not closed by `}}`")),
                Some('{') => open += 1,
                Some('}') => open -= 1,
                Some(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Directive>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("nginx.conf");
        fs::write(&path, text).expect("a file");
        fs::create_dir(folder.path().join("sites")).expect("a folder");
        fs::write(folder.path().join("sites/b.conf"), "b 2;").expect("a file");
        fs::write(folder.path().join("sites/a.conf"), "a 1;").expect("a file");
        fs::write(folder.path().join("sites/.hidden.conf"), "hidden;").expect("a file");
        Reader::new(&path)
            .file(&path, 0)
            .map_err(|error| error.rsplit('/').next().unwrap_or_default().to_owned())
    }

    #[test]
    fn words_quotes_comments_and_blocks_are_told_apart() {
        let all = read(
            "a b 'c d' \"e;f\"; # g h;\nlocation ~ \\.php$ { x ${y}z; }\nmap $a { ~^\\d+$ \"a{1}\"; }\ninclude sites/*.conf;",
        )
        .expect("it reads");
        assert_eq!(all[0].args, ["b", "c d", "e;f"]);
        assert_eq!((all[1].args[1].as_str(), all[1].inside()[0].arg(0)), ("\\.php$", "${y}z"));
        assert_eq!((all[2].inside()[0].name.as_str(), all[2].inside()[0].arg(0)), ("~^\\d+$", "a{1}"));
        let names: Vec<_> = all.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["a", "location", "map", "a", "b"]);
        assert!(all[1].place.ends_with("nginx.conf:2"), "{}", all[1].place);
    }

    #[test]
    fn what_does_not_end_is_told_with_its_line() {
        for (text, told) in [
            ("a b", "nginx.conf:1: `a b` has no `;`"),
            ("a {\n b;", "nginx.conf:2: a block is not closed by `}`"),
            ("a;\n}", "nginx.conf:2: a `}` that closes nothing"),
            ("\na 'b;", "nginx.conf:2: a text is not closed by '"),
            ("{}", "nginx.conf:1: a `{` without a name before it"),
        ] {
            assert_eq!(read(text).expect_err(text), told);
        }
    }

    #[test]
    fn a_text_that_is_cut_or_has_a_letter_more_anywhere_is_read_or_told_with_its_line() {
        let whole = "a b 'c;d';\nlocation ~ \\.x$ { y ${z}; }\nm { ~^\\d+$ \"a{1}\"; }\nx_by_lua_block { t = {1} }\n# e;\n";
        let mut read_well = 0;
        for at in 0..=whole.len() {
            let (before, after) = whole.split_at(at);
            for more in ["", ";", "{", "}", "'", "\"", "\\", "#", "$", "\n"] {
                for text in [format!("{before}{more}"), format!("{before}{more}{after}")] {
                    let Err(told) = read(&text) else {
                        read_well += 1;
                        continue;
                    };
                    let line = told.strip_prefix("nginx.conf:").and_then(|rest| rest.split_once(':'));
                    let line = line.and_then(|(line, _)| line.parse::<usize>().ok());
                    let is_there = line.is_some_and(|line| (1..=text.lines().count() + 1).contains(&line));
                    assert!(is_there, "{told} in {text}");
                }
            }
        }
        assert!(read_well > 100, "{read_well}");
    }

    #[test]
    fn code_in_another_language_is_passed_over() {
        let all = read("content_by_lua_block { local a = {b = 1}; ngx.say(a) }\nc d;").expect("it reads");
        assert_eq!((all.len(), all[1].arg(0)), (2, "d"));
    }
}
