//! The tutorial in docs/: every command of it is run, in order, and must print what the page says.
//!
//! A command is a line of a `console` block that begins with `$ `; it goes on in the next line after a backslash. What follows is what it prints, standard output and
//! standard error together; `[..]` stands for anything within a line, a line of `...` for any lines. Commands run in one folder, page after page, by `sh`.
//! Machines round differently, and a pixel in doubt may fall to the other side: numbers fit if they differ by one in their last digit or by 2 in 1000.
//!
//! `GLAVITU_DOCS=update` writes what is printed into the pages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A command of a page.
struct Step {
    /// Its first line in the page, from 0, and that after what it prints.
    lines: std::ops::Range<usize>,
    /// Lines of the command itself.
    length: usize,
    command: String,
    expected: Vec<String>,
}

fn pages() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut pages: Vec<PathBuf> = fs::read_dir(folder)
        .expect("docs")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(|c: char| c.is_ascii_digit()))
        })
        .collect();
    pages.sort();
    pages
}

fn steps(text: &str) -> Vec<Step> {
    let lines: Vec<&str> = text.lines().collect();
    let (mut steps, mut at) = (Vec::new(), 0);
    let mut inside = false;
    while at < lines.len() {
        match lines[at] {
            "```console" => inside = true,
            line if line.starts_with("```") => inside = false,
            line if inside && line.starts_with("$ ") => {
                let start = at;
                let mut command = line[2..].to_owned();
                while command.ends_with('\\') {
                    command.pop();
                    at += 1;
                    command.push_str(lines[at].trim_start());
                }
                let length = at + 1 - start;
                let mut expected = Vec::new();
                while !lines[at + 1].starts_with("```") && !lines[at + 1].starts_with("$ ") {
                    at += 1;
                    expected.push(lines[at].to_owned());
                }
                steps.push(Step { lines: start..at + 1, length, command, expected });
            }
            _ => {}
        }
        at += 1;
    }
    steps
}

/// Whether a line is what a pattern says, word by word.
fn fits(pattern: &str, line: &str) -> bool {
    let (patterns, words): (Vec<&str>, Vec<&str>) =
        (pattern.split_whitespace().collect(), line.split_whitespace().collect());
    is_like(pattern, line)
        || (patterns.len() == words.len()
            && patterns.iter().zip(words).all(|(pattern, word)| is_like(pattern, word) || is_near(pattern, word)))
}

/// Whether two words are numbers that may come from one computation on two machines. Signs, brackets and commas around them must be the same.
fn is_near(expected: &str, found: &str) -> bool {
    let part = |word: &str| {
        let start = word.find(|c: char| c.is_ascii_digit())?;
        let end = word.rfind(|c: char| c.is_ascii_digit())? + 1;
        let decimals = word[start..end].split_once('.').map_or(0, |(_, decimals)| decimals.len());
        Some((word[..start].to_owned(), word[start..end].parse::<f64>().ok()?, decimals, word[end..].to_owned()))
    };
    let (Some(a), Some(b)) = (part(expected), part(found)) else { return false };
    let digit = 10.0_f64.powi(-i32::try_from(a.2).unwrap_or(0));
    (a.0, a.2, a.3) == (b.0, b.2, b.3) && (a.1 - b.1).abs() <= (1.001 * digit).max(2e-3 * a.1.abs())
}

/// Whether a text is what a pattern with `[..]` says.
fn is_like(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split("[..]");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(part) = last {
            match rest.find(part) {
                Some(place) => rest = &rest[place + str::len(part)..],
                None => return false,
            }
        }
        last = Some(part);
    }
    last.map_or(rest.is_empty(), |part| rest.ends_with(part))
}

fn all_fit(patterns: &[String], lines: &[&str]) -> bool {
    match patterns.split_first() {
        None => lines.is_empty(),
        Some((pattern, patterns)) if pattern == "..." => {
            (0..=lines.len()).any(|skip| all_fit(patterns, &lines[skip..]))
        }
        Some((pattern, patterns)) => {
            lines.split_first().is_some_and(|(line, lines)| fits(pattern, line) && all_fit(patterns, lines))
        }
    }
}

/// Runs a command in the folder of the reader.
fn run(command: &str, folder: &Path) -> (bool, String) {
    let program = assert_cmd::cargo::cargo_bin!("glavitu").to_path_buf();
    let programs = program.parent().expect("a folder").to_path_buf();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([programs].into_iter().chain(std::env::split_paths(&path))).expect("a search path");
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1\n{command}")])
        .current_dir(folder)
        .env("PATH", path)
        .env("GLAVITU_TUNING", "off")
        .env("COLUMNS", "120")
        .output()
        .expect("sh runs");
    (output.status.success(), String::from_utf8(output.stdout).expect("UTF-8"))
}

#[test]
fn every_command_of_the_tutorial() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets");
    #[cfg(unix)]
    std::os::unix::fs::symlink(data, folder.path().join("datasets")).expect("a link");
    #[cfg(not(unix))]
    panic!("the tutorial is for a Unix shell: {}", data.display());
    let update = std::env::var("GLAVITU_DOCS").is_ok_and(|mode| mode == "update");
    let pages = pages();
    assert!(pages.len() >= 8, "{pages:?}");
    let (mut count, mut wrong) = (0, Vec::new());
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let steps = steps(&text);
        assert!(!steps.is_empty(), "{} has no command", page.display());
        let mut printed = Vec::new();
        for step in &steps {
            count += 1;
            let (success, out) = run(&step.command, folder.path());
            let found: Vec<&str> = out.lines().map(str::trim_end).collect();
            if !success || !all_fit(&step.expected, &found) {
                wrong.push(format!("{}: $ {}\n{out}", page.display(), step.command));
            }
            printed.push(out);
        }
        if update {
            for (step, out) in steps.iter().zip(printed).rev() {
                let found: Vec<&str> = out.lines().map(str::trim_end).collect();
                if !all_fit(&step.expected, &found) {
                    let new = found.into_iter().map(str::to_owned);
                    lines.splice(step.lines.start + step.length..step.lines.end, new);
                }
            }
            fs::write(&page, lines.join("\n") + "\n").expect("written");
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count} commands print something else, or fail:\n\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    println!("{count} commands");
}

#[test]
fn patterns() {
    assert!(fits("a [..] c", "a b c") && fits("[..]", "") && fits("in [..] s; see [..]", "in 0.5 s; see x"));
    assert!(!fits("a", "ab") && !fits("a[..]c", "ab") && !fits("a[..]b[..]c", "a c"));
    assert!(fits("area 25.43 km2 (+0.7 %)", "area 25.44 km2  (+0.7 %)") && fits("│ 1440732", "│ 1440001"));
    assert!(!fits("25.43 km2", "25.53 km2") && !fits("+0.7", "-0.7") && !fits("8 outlines", "10 outlines"));
    assert!(!fits("0.5", "0.52") && !fits("25.43", "25.4") && !fits("km2", "km"));
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(all_fit(&lines("a\n...\nd"), &["a", "b", "c", "d"]) && all_fit(&lines("..."), &[]));
    assert!(!all_fit(&lines("a\n..."), &["b"]) && !all_fit(&lines("a"), &["a", "b"]));
    let steps = steps("```console\n$ one \\\n    two\nout\n$ three\n```\n");
    assert_eq!(steps.len(), 2);
    assert_eq!((steps[0].command.as_str(), steps[0].expected.len(), steps[0].length), ("one two", 1, 2));
}
