//! Which files a path stands for, and their text. The only part of configuration that reads the disk.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::read::CONFIG_BYTES_MAX;
use crate::plan::spec::{Problem, Severity};

/// More files than this in one directory are not jobs.
const FILES_MAX: usize = 10_000;

/// A file could not be read. Displayed with its path and what to do.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot read {}: {error}; name a file that is there and may be read", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{0}")]
    NotText(Box<Problem>),
    #[error("{} is not a job (.json) or a configuration (.yaml, .yml)", path.display())]
    Kind { path: PathBuf },
    #[error("{} has more than {FILES_MAX} files; name the directory of the jobs", path.display())]
    TooMany { path: PathBuf },
}

/// Files with their text, in the order of the paths given, each directory's by name.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub jobs: Vec<(PathBuf, String)>,
    pub configs: Vec<(PathBuf, String)>,
    /// Files that are no text: said like what is wrong inside a file, so that they hide no other's problems.
    pub problems: Vec<Problem>,
}

impl Sources {
    fn add(&mut self, file: PathBuf, kind: Kind) -> Result<(), SourceError> {
        match (read(&file), kind) {
            (Ok(text), Kind::Job) => self.jobs.push((file, text)),
            (Ok(text), Kind::Config) => self.configs.push((file, text)),
            (Err(SourceError::NotText(problem)), _) => self.problems.push(*problem),
            (Err(error), _) => return Err(error),
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Job,
    Config,
}

/// Reads files and directories. A directory stands for its *.json, *.yaml and *.yml files, not for those in directories
/// within it; hidden files and JSON Schemas (*.schema.json) are passed over.
///
/// # Errors
/// The first path that cannot be read or is of no kind we know.
pub fn collect(paths: &[PathBuf]) -> Result<Sources, SourceError> {
    let mut sources = Sources::default();
    for path in paths {
        let is_dir = fs::metadata(path).map_err(|error| SourceError::Io { path: path.clone(), error })?.is_dir();
        let files = if is_dir { directory(path)? } else { vec![path.clone()] };
        for file in files {
            let kind = kind(&file).ok_or_else(|| SourceError::Kind { path: file.clone() })?;
            sources.add(file, kind)?;
        }
    }
    Ok(sources)
}

/// The job files of a directory, by name.
///
/// # Errors
/// When the directory or one of the files cannot be read.
pub fn job_files(path: &Path) -> Result<Sources, SourceError> {
    let mut sources = Sources::default();
    for file in directory(path)?.into_iter().filter(|file| kind(file) == Some(Kind::Job)) {
        sources.add(file, Kind::Job)?;
    }
    Ok(sources)
}

fn directory(path: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let wrong = |error| SourceError::Io { path: path.to_owned(), error };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(wrong)? {
        let file = entry.map_err(wrong)?.path();
        let hidden = file.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && kind(&file).is_some() && file.is_file() {
            files.push(file);
        }
        if files.len() > FILES_MAX {
            return Err(SourceError::TooMany { path: path.to_owned() });
        }
    }
    files.sort();
    Ok(files)
}

fn kind(file: &Path) -> Option<Kind> {
    let name = file.file_name()?.to_str()?;
    match file.extension()?.to_str()? {
        "json" if !name.ends_with(".schema.json") => Some(Kind::Job),
        "yaml" | "yml" => Some(Kind::Config),
        _ => None,
    }
}

/// A file's text. One byte more than the largest allowed is enough to see that a file is too large; who reads it reports it.
///
/// # Errors
/// When it cannot be read, or is no text.
pub fn read(path: &Path) -> Result<String, SourceError> {
    let wrong = |error| SourceError::Io { path: path.to_owned(), error };
    let file = fs::File::open(path).map_err(wrong)?;
    let mut bytes = Vec::new();
    file.take(CONFIG_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(wrong)?;
    String::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
        let line = good.matches('\n').count() + 1;
        let column = good.chars().rev().take_while(|c| *c != '\n').count() + 1;
        SourceError::NotText(Box::new(Problem {
            file: path.to_owned(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
            field: String::new(),
            severity: Severity::Error,
            message: "is not UTF-8 from here on".to_owned(),
            remedy: "save the file as UTF-8".to_owned(),
        }))
    })
}

/// Text of a file that may be absent.
///
/// # Errors
/// When it is there and cannot be read.
pub fn read_if_present(path: &Path) -> Result<Option<String>, SourceError> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(SourceError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stands_for_its_jobs_and_configurations() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.json", "a.json", "c.yaml", "job.schema.json", ".hidden.json", "a.test", "a.plan"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        fs::create_dir(dir.path().join("d.json")).unwrap();
        let names = |files: &[(PathBuf, String)]| files.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>();
        let sources = collect(&[dir.path().to_owned()]).unwrap();
        assert_eq!(names(&sources.jobs), ["a.json", "b.json"]);
        assert_eq!(names(&sources.configs), ["c.yaml"]);
        assert_eq!(names(&job_files(dir.path()).unwrap().jobs), ["a.json", "b.json"]);
    }

    #[test]
    fn a_file_that_is_no_text_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.json"), b"{\n \xc3\xa4\xff").unwrap();
        fs::write(dir.path().join("b.json"), "{}").unwrap();
        fs::write(dir.path().join("c.yaml"), b"\xff").unwrap();
        let sources = collect(&[dir.path().to_owned()]).unwrap();
        assert_eq!((sources.jobs.len(), sources.configs.len()), (1, 0));
        let shown = |sources: &Sources| {
            let named = |problem: &Problem| problem.to_string().rsplit('/').next().map(str::to_owned);
            sources.problems.iter().filter_map(named).collect::<Vec<_>>()
        };
        let expected = "a.json:2:3: is not UTF-8 from here on; save the file as UTF-8";
        assert_eq!(shown(&sources), [expected, "c.yaml:1:1: is not UTF-8 from here on; save the file as UTF-8"]);
        assert_eq!(shown(&job_files(dir.path()).unwrap()), [expected]);
        let error = read_if_present(&dir.path().join("a.json")).unwrap_err().to_string();
        assert!(error.ends_with(expected), "{error}");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("absent.json");
        assert!(collect(std::slice::from_ref(&absent)).unwrap_err().to_string().contains("absent.json"));
        assert!(read_if_present(&absent).unwrap().is_none());
        let other = dir.path().join("x.toml");
        fs::write(&other, "").unwrap();
        assert!(collect(&[other]).unwrap_err().to_string().contains("not a job"));
    }
}
