//! The admin token: given by environment or file, or minted into the data directory at the first start.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

const FILE: &str = "admin-token";
const TOKEN_BYTES: usize = 24;

/// Finds the token, or makes one.
pub(crate) fn find(
    settings: &model::Admin,
    snapshot: &model::Snapshot,
    given: Option<&str>,
    data_dir: &Path,
) -> Result<String, String> {
    if let Some(given) = given.filter(|given| !given.is_empty()) {
        return Ok(given.to_owned());
    }
    if let Some(secret) = &settings.token {
        let token = snapshot.secret(secret).trim();
        return if token.is_empty() { Err("admin.token is empty".into()) } else { Ok(token.to_owned()) };
    }
    let path = data_dir.join(FILE);
    let wrong = |error: io::Error| format!("cannot keep the admin token in {}: {error}", path.display());
    match fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => {
            keep_from_others(&path).map_err(wrong)?;
            return Ok(text.trim().to_owned());
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(wrong(error)),
    }
    crate::run::data_dir(data_dir).map_err(wrong)?;
    let token = mint()?;
    write(&path, &token).map_err(wrong)?;
    tracing::info!("the admin token is in {}", path.display());
    Ok(token)
}

/// Writes a file that nobody else could ever read: a new one takes the place of whatever is there.
fn write(path: &Path, token: &str) -> io::Result<()> {
    let fresh = path.with_extension(format!("{}.tmp", std::process::id()));
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(format!("{token}\n").as_bytes())?;
    fs::rename(&fresh, path)
}

/// Takes a token file away from others that may read it; who has read it before still knows the token.
fn keep_from_others(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o700))?;
    tracing::warn!(
        "others could read or write {} and now cannot; if they may have, remove it and start again for a new token",
        path.display()
    );
    Ok(())
}

fn mint() -> Result<String, String> {
    let mut bytes = [0; TOKEN_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the system gives no random bytes".to_owned())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
