//! Keys of the gateway's own: given by the configuration, kept in the data directory, or as old as the process.

use std::{path::PathBuf, sync::OnceLock};

use aws_lc_rs::rand;

/// Where the key is kept that sessions are sealed with.
static DATA_DIR: OnceLock<PathBuf> = OnceLock::new();

/// Says where keys of the gateway's own are kept. Without it they live as long as the process.
pub fn keep_keys_in(folder: PathBuf) {
    let _ = DATA_DIR.set(folder);
}

/// Where the gateway keeps what is its own, if anywhere.
pub(crate) fn data_dir() -> Option<&'static std::path::Path> {
    DATA_DIR.get().map(PathBuf::as_path)
}

/// The secret that ids are sealed with: the configuration's, or one of the gateway's own.
pub(in crate::handler) fn secret(given: Option<&str>) -> Result<Vec<u8>, String> {
    static PROCESS: OnceLock<Option<[u8; 32]>> = OnceLock::new();
    if let Some(given) = given {
        if given.trim().len() < 16 {
            return Err("`sessionKey`: expected at least 16 characters".to_owned());
        }
        return Ok(given.trim().as_bytes().to_vec());
    }
    match DATA_DIR.get() {
        Some(folder) => kept(&folder.join("mcp-session.key")),
        None => PROCESS
            .get_or_init(|| mint().ok())
            .map(|key| key.to_vec())
            .ok_or_else(|| "the system gives no random bytes".to_owned()),
    }
}

fn mint() -> Result<[u8; 32], String> {
    let mut key = [0; 32];
    rand::fill(&mut key).map_err(|_| "the system gives no random bytes".to_owned())?;
    Ok(key)
}

/// The key in a file, which is made when it is not there.
pub(crate) fn kept(path: &std::path::Path) -> Result<Vec<u8>, String> {
    use std::{
        fs,
        io::Write,
        os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    };
    let wrong =
        |error: std::io::Error| format!("cannot keep the key of sessions in {}: {error}", path.display());
    match fs::read(path) {
        Ok(key) if key.len() == 32 => return Ok(key),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(wrong(error)),
        _ => {}
    }
    let key = mint()?;
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(wrong)?;
    }
    let fresh = path.with_extension(format!("{}.tmp", std::process::id()));
    let _ = fs::remove_file(&fresh);
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).map_err(wrong)?;
    file.write_all(&key).map_err(wrong)?;
    fs::rename(&fresh, path).map_err(wrong)?;
    Ok(key.to_vec())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    #[test]
    fn a_folder_that_is_made_for_a_key_is_for_nobody_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data/own.key");
        super::kept(&path).expect("a key");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(&folder.path().join("data")), mode(&path)), (0o700, 0o600));
    }
}
