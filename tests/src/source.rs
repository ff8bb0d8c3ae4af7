//! Reads the workspace's own source well enough for house checks: what is code and not comment, string or test,
//! and which paths into the crate a module uses. No grammar: it looks for words and counts braces.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is in a workspace")
}

/// A text file of the workspace.
#[derive(Clone, Debug)]
pub struct File {
    /// Relative to the workspace, with slashes.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// Every text file of the workspace in order of path, without what is built, fetched or hidden (`.ci` apart).
pub fn files() -> Vec<File> {
    let mut files = Vec::new();
    walk(workspace(), &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.iter().any(|file| file.path == "Cargo.lock"), "this is not the workspace");
    files
}

fn walk(directory: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(directory).expect("a directory of the workspace can be read").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let skipped = name.starts_with('.') && !matches!(&*name, ".ci" | ".gitignore");
        match entry.file_type() {
            _ if skipped => {}
            Ok(kind) if kind.is_dir() && matches!(&*name, "target" | "artifacts" | "corpus") => {}
            Ok(kind) if kind.is_dir() => walk(&path, files),
            Ok(kind) if kind.is_file() => {
                if let Ok(text) = fs::read_to_string(&path) {
                    files.push(File { path: relative(&path), text });
                }
            }
            _ => {}
        }
    }
}

fn relative(path: &Path) -> String {
    let path: PathBuf = path.strip_prefix(workspace()).expect("found inside the workspace").into();
    path.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// Rust source with comments and the insides of literals blanked; lines stay where they are.
pub fn code(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => find(&chars, at, |c, _| c == '\n'),
            '/' if chars.get(at + 1) == Some(&'*') => end_of_comment(&chars, at),
            '"' => end_of_string(&chars, at, hashes_before(&chars, at)),
            '\'' => end_of_char(&chars, at),
            c => {
                out.push(c);
                at += 1;
                continue;
            }
        };
        out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

/// The first place from `start` where `is_end(character, place)` holds, or the end.
fn find(chars: &[char], start: usize, is_end: impl Fn(char, usize) -> bool) -> usize {
    (start..chars.len()).find(|&at| is_end(chars[at], at)).unwrap_or(chars.len())
}

fn end_of_comment(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => depth += 1,
            ('*', Some('/')) => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

/// How many `#` stand between an `r` and the quote at `quote`; nothing if this is no raw string.
fn hashes_before(chars: &[char], quote: usize) -> Option<usize> {
    let n = chars[..quote].iter().rev().take_while(|&&c| c == '#').count();
    (quote > n && chars[quote - n - 1] == 'r').then_some(n)
}

fn end_of_string(chars: &[char], quote: usize, raw: Option<usize>) -> usize {
    let mut at = quote + 1;
    while at < chars.len() {
        match (chars[at], raw) {
            ('\\', None) => at += 1,
            ('"', None) => return at + 1,
            ('"', Some(n)) if chars[at + 1..].iter().take_while(|&&c| c == '#').take(n).count() == n => {
                return at + 1 + n;
            }
            _ => {}
        }
        at += 1;
    }
    chars.len()
}

/// The end of a character literal, or of the quote alone when it begins a lifetime.
fn end_of_char(chars: &[char], quote: usize) -> usize {
    match (chars.get(quote + 1), chars.get(quote + 2)) {
        (Some('\\'), _) => (find(chars, quote + 3, |c, _| c == '\'') + 1).min(chars.len()),
        (_, Some('\'')) => quote + 3,
        _ => quote + 1,
    }
}

/// [`code`] with every item under `#[cfg(test)]` blanked as well.
pub fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(start) = out.find("#[cfg(test)]") {
        let open = out[start..].find(['{', ';']).map_or(out.len(), |offset| start + offset);
        let end = if out[open..].starts_with('{') { open + block(&out[open..]).len() } else { open + 1 };
        let end = end.min(out.len());
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
    }
    out
}

/// The block that begins with the first brace of `code`, braces included; all the rest if it does not end.
pub fn block(code: &str) -> &str {
    let start = code.find('{').unwrap_or(code.len());
    let mut depth = 0;
    for (at, c) in code[start..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &code[start..=start + at];
        }
    }
    &code[start..]
}

/// The line, counted from 1, in which byte `at` of `text` lies.
pub fn line(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The module that a file under `src/` is, as the segments of its path: none for the crate root.
pub fn module(path_in_src: &str) -> Vec<String> {
    let stem = path_in_src.strip_suffix(".rs").unwrap_or(path_in_src);
    let mut segments: Vec<String> = stem.split('/').map(str::to_owned).collect();
    if matches!(segments.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        segments.pop();
    }
    segments
}

/// Every path into its own crate that `code` of `module` names by `crate::` or `super::`, with its line. A module
/// written out inside a file counts as that file.
pub fn crate_paths(code: &str, module: &[String]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for word in ["crate", "super"] {
        for (at, _) in code.match_indices(&format!("{word}::")) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue; // part of a longer word, or of a chain of `super::` that began earlier
            }
            let prefix = match word {
                "super" => module[..module.len().saturating_sub(1)].to_vec(),
                _ => Vec::new(),
            };
            let mut paths = Vec::new();
            use_tree(code[at + word.len() + 2..].trim_start(), prefix, &mut paths);
            found.extend(paths.into_iter().map(|path| (line(code, at), path)));
        }
    }
    found
}

/// Reads `a::{b, c::d}` and the like; returns what follows it.
fn use_tree<'a>(mut rest: &'a str, mut prefix: Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    loop {
        rest = rest.trim_start();
        if let Some(group) = rest.strip_prefix('{') {
            rest = group.trim_start();
            while !rest.is_empty() && !rest.starts_with('}') {
                let before = rest.len();
                rest = use_tree(rest, prefix.clone(), found);
                rest = &rest[rest.find([',', '}']).unwrap_or(rest.len())..];
                rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
                assert!(rest.len() < before, "no way on in {rest:?}");
            }
            return rest.strip_prefix('}').unwrap_or(rest);
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        match &rest[..end] {
            "" | "self" => {
                found.push(prefix);
                return &rest[end..];
            }
            "super" => drop(prefix.pop()),
            name => prefix.push(name.to_owned()),
        }
        rest = rest[end..].trim_start();
        match rest.strip_prefix("::") {
            Some(more) => rest = more,
            None => {
                found.push(prefix);
                return rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_neither_comment_nor_literal() {
        let source = "a(\"todo!\", 'x', '\\'', r#\"q\"u\"#, b\"z\\\"\") /* b /* c */ */ 'life: d // e\nf";
        assert_eq!(code(source).split_whitespace().collect::<String>(), "a(,,,r#,b)life:df");
        assert_eq!(code("/* a\nb */ c").matches('\n').count(), 1);
    }

    #[test]
    fn test_modules_are_left_out() {
        let source = "fn a() {}\n#[cfg(test)]\nmod tests;\nfn b() {}\n#[cfg(test)]\nmod more { fn x() { {} } }\nfn c() {}";
        let left = without_tests(source);
        assert!(left.contains("fn a") && left.contains("fn b") && left.contains("fn c"), "{left}");
        assert!(!left.contains("tests") && !left.contains("more") && !left.contains("fn x"), "{left}");
    }

    #[test]
    fn paths_are_found_in_groups_expressions_and_by_super() {
        let code = "use crate::{a, b::{self, C, d::*}, super_e::F};\nlet x = crate::g::h::<T>();\nuse super::i::J;\n\
                    use super::super::k; pub(crate) fn l() {} mycrate::m";
        let module = ["wire".to_owned(), "frame".to_owned()];
        let paths: Vec<String> = crate_paths(code, &module).iter().map(|(_, path)| path.join("::")).collect();
        assert_eq!(paths, ["a", "b", "b::C", "b::d", "super_e::F", "g::h", "wire::i::J", "k"]);
        assert_eq!(crate_paths(code, &module)[5].0, 2);
    }

    #[test]
    fn files_are_modules() {
        assert!(module("lib.rs").is_empty());
        assert_eq!(module("wire/mod.rs"), ["wire"]);
        assert_eq!(module("wire/frame.rs"), ["wire", "frame"]);
    }
}
