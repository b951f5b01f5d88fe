//! The sources as text: found, freed of comments and quotes, and searched for paths, functions and names.
//!
//! Not a parser: it knows as much Rust as the rules need, and rustfmt has put every item where it is looked for.

use std::fs;
use std::path::{Path, PathBuf};

/// The repository: PREFOLD_ROOT, else where the package is.
pub fn root() -> PathBuf {
    std::env::var_os("PREFOLD_ROOT").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}

/// The text of a file of the repository.
#[track_caller]
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// One source file.
pub struct SourceFile {
    /// From the root, with slashes.
    pub path: String,
    pub text: String,
    /// The text with comments, and what is inside quotes, blanked out; lines are as before.
    code: String,
}

impl SourceFile {
    pub fn new(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), text: text.to_owned(), code: code_of(text) }
    }

    /// Lines of code with their numbers.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(number, line)| (number + 1, line))
    }

    /// As [`SourceFile::code`], up to the tests at the file's end.
    pub fn code_without_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code().take_while(|(_, line)| *line != "mod tests {")
    }

    /// `super::super::x` that ends at the crate's root would go around the import table.
    pub fn climbs_to_the_root(&self) -> Vec<String> {
        let module = self.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        let mut depth = module.split('/').count();
        let mut broken = Vec::new();
        for (number, line) in self.code() {
            depth += usize::from(line.starts_with("mod ") && line.ends_with('{'));
            let mut paths = line.split(|c: char| !is_word(c) && c != ':');
            if paths.any(|path| path.matches("super::").count() >= depth) {
                broken.push(format!("{}:{number}: write crate::, not a path over the root", self.path));
            }
        }
        broken
    }

    /// Name, first line and number of lines of every function with a body.
    pub fn functions(&self) -> Vec<(String, usize, usize)> {
        let lines: Vec<&str> = self.code.lines().collect();
        let named = lines.iter().enumerate().filter_map(|(at, line)| Some((at, function_name(line)?)));
        named.filter_map(|(at, name)| Some((name.to_owned(), at + 1, body_lines(&lines[at..])?))).collect()
    }
}

fn function_name(line: &str) -> Option<&str> {
    let at = line.match_indices("fn ").map(|(at, _)| at).find(|at| *at == 0 || line[..*at].ends_with(' '))?;
    let rest = &line[at + 3..];
    Some(&rest[..rest.find(|c| !is_word(c))?])
}

/// Lines up to the brace that closes the first one; none when there is no body.
fn body_lines(lines: &[&str]) -> Option<usize> {
    let (mut depth, mut begun) = (0, false);
    for (at, line) in lines.iter().enumerate() {
        begun |= line.contains('{');
        depth += line.matches('{').count() as i64 - line.matches('}').count() as i64;
        if begun && depth <= 0 {
            return Some(at + 1);
        }
        if !begun && line.trim_end().ends_with(';') {
            return None;
        }
    }
    None
}

/// Rust files under a folder of the repository, by path.
pub fn rust_files(folder: &str) -> Vec<SourceFile> {
    let paths = files_under(&root().join(folder), "rs");
    assert!(!paths.is_empty(), "{folder} has sources");
    let name = |path: &Path| path.strip_prefix(root()).expect("it was found there").to_string_lossy().replace('\\', "/");
    paths.iter().map(|path| SourceFile::new(&name(path), &fs::read_to_string(path).expect("it can be read"))).collect()
}

/// All of them that people write.
pub fn all_rust_files() -> Vec<SourceFile> {
    ["src", "tests", "benches"].into_iter().flat_map(rust_files).collect()
}

/// Files with an extension, in a folder and those inside it, by path.
pub fn files_under(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("it can be listed").path();
        match path.is_dir() {
            true => found.extend(files_under(&path, extension)),
            false if path.extension().is_some_and(|found| found == extension) => found.push(path),
            false => {}
        }
    }
    found.sort();
    found
}

/// `store` of `src/store/block.rs` and of `src/store.rs`.
pub fn folder_of(path: &str) -> &str {
    let rest = path.trim_start_matches("src/");
    rest.split(['/', '.']).next().unwrap_or(rest)
}

/// A text with comments and what is inside quotes replaced by blanks, so that every place stays where it is.
pub fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    while at < chars.len() {
        let length = not_code(&chars, at);
        if length == 0 {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        let end = (at + length).min(chars.len());
        out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

/// How many characters from here are a comment or a literal in quotes; 0 for code.
fn not_code(chars: &[char], at: usize) -> usize {
    let next = |offset: usize| chars.get(at + offset).copied().unwrap_or('\0');
    let rest = &chars[at..];
    let in_word = at > 0 && is_word(chars[at - 1]);
    match next(0) {
        '/' if next(1) == '/' => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
        '/' if next(1) == '*' => length_to(rest, 2, &['*', '/']),
        'r' if !in_word || chars[at - 1] == 'b' => raw_string(rest),
        '"' => quoted(rest, '"'),
        // A lifetime has no closing quote.
        '\'' if next(1) == '\\' || next(2) == '\'' => quoted(rest, '\''),
        _ => 0,
    }
}

fn raw_string(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    length_to(rest, 2 + hashes, &end)
}

fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn length_to(rest: &[char], from: usize, end: &[char]) -> usize {
    let found = (from..rest.len()).find(|at| rest[*at..].starts_with(end));
    found.map_or(rest.len(), |at| at + end.len())
}

/// The identifiers that follow a prefix which no word stands before.
pub fn imported<'a>(line: &'a str, prefix: &str) -> Vec<&'a str> {
    let starts = line.match_indices(prefix).filter(|(at, _)| !line[..*at].ends_with(is_word));
    let name = |rest: &'a str| match rest.starts_with('{') {
        true => "{..}: one `use` per folder",
        false => &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())],
    };
    starts.map(|(at, _)| name(&line[at + prefix.len()..])).collect()
}

/// Whether a line of code names a path: `name::..`, `use name;`, `use name as`, or a member of `use std::{..}`.
pub fn names_path(line: &str, name: &str) -> bool {
    let last = name.rsplit("::").next().unwrap_or(name);
    if name != last && line.contains("use std::{") && has_word(line, last) {
        return true;
    }
    let used = line.contains(&format!("use {name}"));
    let free = |at: usize| !line[..at].ends_with(|c| is_word(c) || c == ':' || c == '.');
    let is_path = |rest: &str| rest.starts_with("::") || (used && !rest.starts_with(is_word));
    line.match_indices(name).any(|(at, _)| free(at) && is_path(&line[at + name.len()..]))
}

/// Whether a text has a name as a whole word; a hyphen belongs to a word, so that slugs are told apart.
pub fn has_word(text: &str, word: &str) -> bool {
    let inside = |c: char| is_word(c) || c == '-';
    let whole = |at: usize| !text[..at].ends_with(inside) && !text[at + word.len()..].starts_with(inside);
    text.match_indices(word).any(|(at, _)| whole(at))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Names of public fields: what serde reads of a struct.
pub fn public_fields(code: &str) -> Vec<String> {
    code.lines().filter_map(|line| field(line.trim_start().strip_prefix("pub ")?)).collect()
}

/// Names of the fields of one struct, private or not.
pub fn keys_of_struct(text: &str, header: &str) -> Vec<String> {
    let body = text.split_once(header).map_or("", |(_, rest)| rest.split("\n}").next().unwrap_or(rest));
    code_of(body).lines().filter_map(|line| field(line.trim_start())).collect()
}

fn field(text: &str) -> Option<String> {
    let (name, rest) = text.split_once(':')?;
    let is_name = !name.is_empty() && name.chars().all(is_word) && !rest.starts_with(':');
    is_name.then(|| name.to_owned())
}

/// What stands in quotes right after a text.
pub fn quoted_after(text: &str, before: &str) -> Vec<String> {
    let opening = format!("{before}\"");
    let found = text.match_indices(&opening).map(|(at, _)| &text[at + opening.len()..]);
    found.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
}
