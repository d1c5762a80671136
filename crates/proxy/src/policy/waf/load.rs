//! Rules from files. What was compiled once is shared by all policies that say the same, and by the next snapshot
//! while the files stay as they are.

use std::{
    cell::RefCell,
    fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use waf::{Exclusion, Files, Mode, Options, Rules, Source, Target};

use crate::compiled::Building;

/// The largest file that rules are read from.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// The largest message about rules that are refused, in findings.
const ERRORS_MAX: usize = 20;

/// Rules with what was warned about.
pub(super) struct Loaded {
    pub(super) rules: Arc<Rules>,
    pub(super) warnings: Arc<Vec<String>>,
}

/// Rules by a digest of their sources and settings, with the files that these named and what was warned about.
struct Known {
    digest: u64,
    named: Vec<Named>,
    rules: Weak<Rules>,
    warnings: Arc<Vec<String>>,
}

/// What was compiled.
static COMPILED: Mutex<Vec<Known>> = Mutex::new(Vec::new());

/// What a file named, a file or a pattern, and a digest of what it was.
struct Named {
    from: String,
    name: String,
    is_list: bool,
    digest: u64,
}

impl Named {
    fn is_same(&self) -> bool {
        let now = match self.is_list {
            true => digest_of(&list_beside(&self.from, &self.name)),
            false => digest_of(&read(&folder_of(&self.from).join(&self.name))),
        };
        now == self.digest
    }
}

fn digest_of(value: &impl Hash) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Files beside the one that names them, noted.
#[derive(Default)]
struct Disk(RefCell<Vec<Named>>);

impl Disk {
    fn note(&self, from: &str, name: &str, is_list: bool, digest: u64) {
        self.0.borrow_mut().push(Named { from: from.to_owned(), name: name.to_owned(), is_list, digest });
    }
}

fn list_beside(from: &str, pattern: &str) -> Result<Vec<String>, String> {
    let path = folder_of(from).join(pattern);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let found = list(path.parent().unwrap_or(Path::new("/")), &name)?;
    Ok(found.iter().map(|path| path.to_string_lossy().into_owned()).collect())
}

fn folder_of(file: &str) -> &Path {
    Path::new(file).parent().unwrap_or(Path::new("/"))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let wrong = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let size = fs::metadata(path).map_err(wrong)?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{} has {size} bytes; expected {FILE_BYTES_MAX} at most", path.display()));
    }
    fs::read(path).map_err(wrong)
}

/// Files of a folder that a pattern with one `*` names, in the order of their names.
fn list(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
    let is_meant = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        match pattern.contains('*') {
            true => name.len() >= pattern.len() - 1 && name.starts_with(before) && name.ends_with(after),
            false => name == pattern,
        }
    };
    let entries =
        fs::read_dir(folder).map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_meant).collect();
    found.sort();
    Ok(found)
}

impl Files for Disk {
    fn read(&self, from: &str, name: &str) -> Result<Vec<u8>, String> {
        let result = read(&folder_of(from).join(name));
        self.note(from, name, false, digest_of(&result));
        result
    }

    fn list(&self, from: &str, pattern: &str) -> Result<Vec<String>, String> {
        let result = list_beside(from, pattern);
        self.note(from, pattern, true, digest_of(&result));
        result
    }
}

fn source(path: &Path) -> Result<Source, String> {
    let text = String::from_utf8(read(path)?).map_err(|_| format!("{} is no UTF-8 text", path.display()))?;
    Ok(Source { name: path.to_string_lossy().into(), text })
}

/// Reads and compiles the rules of a policy.
pub(super) fn load(settings: &model::policy::Waf, cx: &Building<'_>) -> Result<Loaded, String> {
    let mut sources = Vec::new();
    if let Some(setup) = &settings.setup {
        let text = String::from_utf8(cx.snapshot.file(setup).to_vec());
        let text = text.map_err(|_| format!("{setup} is no UTF-8 text"))?;
        sources.push(Source { name: setup.to_string().into(), text });
    }
    let pinned_after = sources.len();
    for path in &settings.rules {
        let path = Path::new(path);
        if path.is_dir() {
            let files = list(path, "*.conf")?;
            if files.is_empty() {
                return Err(format!("{} has no `*.conf`; expected the folder of the rules", path.display()));
            }
            for file in &files {
                sources.push(source(file)?);
            }
        } else {
            sources.push(source(path)?);
        }
    }
    let options = options(settings, pinned_after)?;
    let digest = digest(&sources, &options);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    compiled.retain(|known| known.rules.strong_count() > 0);
    let is_same = |known: &&Known| known.digest == digest && known.named.iter().all(Named::is_same);
    if let Some(known) = compiled.iter().find(is_same)
        && let Some(rules) = known.rules.upgrade()
    {
        return Ok(Loaded { rules, warnings: known.warnings.clone() });
    }
    let disk = Disk::default();
    match Rules::compile(&sources, &disk, &options) {
        Ok((rules, warnings)) => {
            let (rules, warnings) = (Arc::new(rules), warnings.iter().map(ToString::to_string).collect());
            let warnings = Arc::new(warnings);
            let (named, known) = (disk.0.take(), Arc::downgrade(&rules));
            compiled.push(Known { digest, named, rules: known, warnings: Arc::clone(&warnings) });
            Ok(Loaded { rules, warnings })
        }
        Err(errors) => {
            let told: Vec<String> = errors.iter().take(ERRORS_MAX).map(ToString::to_string).collect();
            let more = match errors.len().saturating_sub(ERRORS_MAX) {
                0 => String::new(),
                more => format!("; and {more} more"),
            };
            Err(format!("these rules cannot be used: {}{more}", told.join("; ")))
        }
    }
}

fn digest(sources: &[Source], options: &Options) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    for source in sources {
        (&source.name, &source.text).hash(&mut hasher);
    }
    format!("{options:?}").hash(&mut hasher);
    hasher.finish()
}

/// The settings as the engine has them: variables that either version of the Core Rule Set asks for.
fn options(settings: &model::policy::Waf, pinned_after: usize) -> Result<Options, String> {
    let mut pinned: Vec<(String, String)> = Vec::new();
    let mut pin = |name: &str, value: String| pinned.push((name.to_owned(), value));
    if settings.setup.is_none() {
        // Without it the rules refuse every call as not configured.
        pin("crs_setup_version", "1".into());
    }
    if let Some(level) = settings.paranoia {
        let detection = settings.detection_paranoia.unwrap_or(level);
        pin("paranoia_level", level.to_string());
        pin("executing_paranoia_level", detection.to_string());
        pin("blocking_paranoia_level", level.to_string());
        pin("detection_paranoia_level", detection.to_string());
    } else if let Some(detection) = settings.detection_paranoia {
        pin("executing_paranoia_level", detection.to_string());
        pin("detection_paranoia_level", detection.to_string());
    }
    for (name, threshold) in [
        ("inbound_anomaly_score_threshold", settings.inbound_threshold),
        ("outbound_anomaly_score_threshold", settings.outbound_threshold),
    ] {
        if let Some(threshold) = threshold {
            pin(name, threshold.to_string());
        }
    }
    pin("allowed_methods", settings.allowed_methods.join(" "));
    for (name, value) in &settings.variables {
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name || value.contains(['\'', '"', '\\', '\n', '%']) {
            return Err(format!(
                "the variable `{name}` is not one: expected a name of letters, digits and `_`, and a value without \
                 quotes, backslashes and macros"
            ));
        }
        pin(name, value.clone());
    }
    let exclusion = |one: &model::policy::waf::WafExclusion| {
        Ok::<_, String>(Exclusion {
            ids: one.ids()?,
            tags: one.tags.clone(),
            targets: one.targets.iter().cloned().map(Target).collect(),
            paths: one.paths.clone(),
        })
    };
    Ok(Options {
        mode: Some(match settings.mode {
            model::policy::waf::WafMode::Enforce => Mode::On,
            model::policy::waf::WafMode::Detect => Mode::DetectionOnly,
        }),
        variables: Vec::new(),
        pinned,
        pinned_after,
        exclusions: settings.exclusions.iter().map(exclusion).collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_files_name_is_looked_at_again() {
        let folder = std::env::temp_dir().join(format!("tidegate-waf-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let from = folder.join("rules.conf").to_string_lossy().into_owned();
        fs::write(folder.join("words.data"), "one").expect("a file");
        let disk = Disk::default();
        disk.read(&from, "words.data").expect("a file");
        disk.read(&from, "later.data").expect_err("no file");
        disk.list(&from, "*.data").expect("a folder");
        let named = disk.0.take();
        let same = || named.iter().map(Named::is_same).collect::<Vec<_>>();
        assert_eq!(same(), [true, true, true]);
        fs::write(folder.join("words.data"), "two").expect("a file");
        assert_eq!(same(), [false, true, true]);
        fs::write(folder.join("later.data"), "three").expect("a file");
        assert_eq!(same(), [false, false, false]);
        fs::remove_dir_all(&folder).expect("it goes");
    }
}
