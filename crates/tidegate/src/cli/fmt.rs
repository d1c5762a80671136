//! `fmt`: brings configuration files into the normal layout, comments and all.

use std::path::PathBuf;

use super::Done;
use crate::exit::Exit;

/// Formats files in place, or only says which are not in the normal layout.
pub(crate) fn fmt(files: &[PathBuf], check: bool) -> Done {
    let mut result = Ok(());
    for path in files {
        let shown = path.display();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("error: cannot read {shown}: {error}");
                result = Err(Exit::Failed);
                continue;
            }
        };
        match model::fmt(&text) {
            Ok(formatted) if formatted == text => {}
            Ok(_) if check => {
                show!("{shown} is not in the normal layout");
                result = Err(Exit::Failed);
            }
            Ok(formatted) => match std::fs::write(path, formatted) {
                Ok(()) => show!("formatted {shown}"),
                Err(error) => {
                    eprintln!("error: cannot write {shown}: {error}");
                    result = Err(Exit::Failed);
                }
            },
            Err(error) => {
                eprintln!("error: {shown}: {error}");
                result = Err(Exit::Configuration);
            }
        }
    }
    result
}
