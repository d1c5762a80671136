//! `fmt`: tidies the white space of configuration files; comments and the order of keys stay.

use std::path::PathBuf;

use super::Done;
use crate::exit::Exit;

/// Tidies files in place, or only says which are not tidy.
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
                show!("{shown} has white space that `tidegate fmt` would tidy");
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
