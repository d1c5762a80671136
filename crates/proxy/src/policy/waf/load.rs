//! Rules from files. What was compiled once is shared by all policies that say the same, and by the next snapshot
//! while the files stay as they are.

use std::{
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

/// Rules by a digest of all that went into them, with what was warned about.
type Known = (u64, Weak<Rules>, Arc<Vec<String>>);

/// What was compiled.
static COMPILED: Mutex<Vec<Known>> = Mutex::new(Vec::new());

/// Files beside the one that names them.
struct Disk;

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
        read(&folder_of(from).join(name))
    }

    fn list(&self, from: &str, pattern: &str) -> Result<Vec<String>, String> {
        let path = folder_of(from).join(pattern);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let found = list(path.parent().unwrap_or(Path::new("/")), &name)?;
        Ok(found.iter().map(|path| path.to_string_lossy().into_owned()).collect())
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
    let mut data = Vec::new();
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
            data.extend(list(path, "*.data")?);
        } else {
            sources.push(source(path)?);
        }
    }
    let options = options(settings, pinned_after)?;
    let digest = digest(&sources, &data, &options);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    compiled.retain(|(_, rules, _)| rules.strong_count() > 0);
    let known = compiled.iter().find(|(known, ..)| *known == digest);
    if let Some((rules, warnings)) = known.and_then(|(_, rules, warnings)| Some((rules.upgrade()?, warnings)))
    {
        return Ok(Loaded { rules, warnings: warnings.clone() });
    }
    match Rules::compile(&sources, &Disk, &options) {
        Ok((rules, warnings)) => {
            let (rules, warnings) = (Arc::new(rules), warnings.iter().map(ToString::to_string).collect());
            let warnings = Arc::new(warnings);
            compiled.push((digest, Arc::downgrade(&rules), Arc::clone(&warnings)));
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

fn digest(sources: &[Source], data: &[PathBuf], options: &Options) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    for source in sources {
        (&source.name, &source.text).hash(&mut hasher);
    }
    for path in data {
        (path, read(path).unwrap_or_default()).hash(&mut hasher);
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
