//! Files of a location: `root`, `alias`, `index`, `try_files`, `error_page`. What nginx asks another location for, a script
//! for instance, is no file here.

use serde_json::json;

use super::{
    Import, Scope,
    handlers::{Handled, answers},
    order::{answering, refuses},
    syntax::Directive,
    words,
};

/// The named location that answers in the place of files, with the `try_files` that says so. Unlike others, that holds
/// where it stands alone.
pub(super) fn stand_in<'a>(
    outer: &Scope<'a>,
    place: &'a Directive,
) -> Option<(&'a Directive, &'a Directive)> {
    if place.inside().iter().any(answers) {
        return None;
    }
    let tried = place.inside().iter().rfind(|one| one.name == "try_files")?;
    let name = tried.args.last().filter(|name| name.starts_with('@'))?;
    let level = outer.levels.last()?;
    let named = level.iter().find(|one| one.name == "location" && one.arg(0) == name)?;
    tried.seen.set(true);
    Some((tried, named))
}

/// The other location that nginx asks for a page, if something else than a file answers there, or not everybody may see it.
fn asked_for<'a>(scope: &Scope<'a>, place: &Directive, page: &str) -> Option<&'a Directive> {
    let level = scope.levels.iter().copied().find(|level| level.iter().any(|one| one.name == "location"))?;
    let found = answering(level, page).filter(|one| !std::ptr::eq(*one, place))?;
    let is_internal = found.inside().iter().any(|one| one.name == "internal");
    (found.inside().iter().any(answers) || (refuses(found) && !is_internal)).then_some(found)
}

impl<'a> Import<'a> {
    pub(super) fn files(
        &mut self,
        scope: &Scope<'a>,
        place: &'a Directive,
        prefix: Option<&str>,
        is_exact: bool,
    ) -> Handled {
        let own = Scope { levels: vec![place.inside()] };
        let tried = own.one("try_files");
        let last = tried.and_then(|one| one.args.last()).map_or("", String::as_str);
        if let Some(tried) = tried.filter(|_| last.starts_with('@')) {
            self.note(tried, format_args!("no counterpart: `{last}`; the location answers 501"));
            return Handled::missing();
        }
        let alias = own.arg("alias");
        let Some(root) = alias.or_else(|| scope.arg("root")) else {
            self.note(place, "it has no `root` and nothing that answers: the location answers 404");
            return Handled::status(404);
        };
        let Some((root, cut)) = rooted(root, alias.is_some(), prefix, is_exact) else {
            self.note(place, format_args!("no counterpart: files under `{root}`; the location answers 501"));
            return Handled::missing();
        };
        let mut files = json!({"root": self.path(root)});
        if !cut.is_empty() {
            files["stripPrefix"] = json!(words::path(cut));
        }
        if let Some(index) = scope.one("index") {
            let folder = prefix.filter(|prefix| prefix.ends_with('/')).unwrap_or("/");
            let mut names = Vec::new();
            for name in &index.args {
                let is_name = !name.is_empty() && !name.contains(['/', '$']);
                match asked_for(scope, place, &format!("{folder}{name}")) {
                    None if is_name => names.push(name),
                    None => self.note(index, format_args!("no counterpart: `{name}`")),
                    Some(other) => self.note(
                        index,
                        format_args!("`{name}` is left out: nginx asks `{}` for it", other.shown()),
                    ),
                }
            }
            files["index"] = json!(names);
        }
        if let Some(page) = tried.and_then(|tried| self.tried(scope, place, tried, cut)) {
            files["spaFallback"] = json!(page);
        }
        for page in scope.all("error_page") {
            let target = page.args.last().map_or("", String::as_str);
            let is_missing = page.args.iter().any(|status| status == "404");
            let name = named(target, cut).filter(|_| is_missing && asked_for(scope, place, target).is_none());
            match name {
                Some(name) => files["notFound"] = json!(name),
                None => self.note(page, "no counterpart"),
            }
        }
        let mut encoded = Vec::new();
        for (name, coding) in [("brotli_static", "br"), ("gzip_static", "gzip")] {
            if scope.arg(name).is_some_and(|way| way != "off") {
                encoded.push(coding);
            }
        }
        if !encoded.is_empty() {
            files["precompressed"] = json!(encoded);
        }
        if scope.is_on("autoindex") {
            self.note(place, "no counterpart: `autoindex`, directories are never listed");
        }
        Handled::of("static", files)
    }

    /// The page that answers where no file is.
    fn tried(
        &mut self,
        scope: &Scope<'a>,
        place: &'a Directive,
        tried: &'a Directive,
        cut: &str,
    ) -> Option<String> {
        let (last, others) = tried.args.split_last()?;
        for one in others.iter().filter(|one| !["$uri", "$uri/"].contains(&one.as_str())) {
            self.note(tried, format_args!("no counterpart: `{one}`"));
        }
        let page = last.split('?').next().unwrap_or_default();
        match (named(page, cut), asked_for(scope, place, page)) {
            _ if last == "=404" => None,
            (Some(name), None) => Some(name),
            (_, Some(other)) => {
                self.note(
                    tried,
                    format_args!(
                        "what is not there is 404 here: nginx asks `{}` for `{page}` then",
                        other.shown()
                    ),
                );
                None
            }
            (None, None) => {
                self.note(tried, format_args!("no counterpart: `{last}`"));
                None
            }
        }
    }
}

/// The folder of the files, and what is cut off their paths; none where no folder has them under those.
fn rooted<'b>(
    root: &'b str,
    is_alias: bool,
    prefix: Option<&'b str>,
    is_exact: bool,
) -> Option<(&'b str, &'b str)> {
    if root.contains('$') || (is_alias && prefix.is_none()) {
        return None;
    }
    let bare = match root.trim_end_matches('/') {
        "" => "/",
        bare => bare,
    };
    let Some(prefix) = prefix.filter(|_| is_alias) else { return Some((bare, "")) };
    let names = root.rsplit_once('/').zip(prefix.rsplit_once('/'));
    if let Some(((folder, name), (outer, own))) = names.filter(|((_, name), _)| !name.is_empty()) {
        if name == own && (is_exact || name.contains('.')) {
            // It is a file.
            return Some((if folder.is_empty() { "/" } else { folder }, outer));
        }
        if is_exact {
            return None;
        }
    }
    Some((bare, prefix.trim_end_matches('/')))
}

/// A page as a path below the folder of the files.
fn named(page: &str, cut: &str) -> Option<String> {
    let name = page.strip_prefix(cut).unwrap_or(page).strip_prefix('/')?;
    let is_below = !name.contains(['$', '?']) && name.split('/').all(|step| !matches!(step, "" | "." | ".."));
    is_below.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_and_what_is_cut_off_follow_from_root_and_alias() {
        for (root, is_alias, prefix, is_exact, want) in [
            ("/www/", false, Some("/a/"), false, Some(("/www", ""))),
            ("/www/", true, Some("/a/"), false, Some(("/www", "/a"))),
            ("/www/x", true, Some("/a"), false, Some(("/www/x", "/a"))),
            ("/www/robots.txt", true, Some("/robots.txt"), false, Some(("/www", ""))),
            ("/www/a.png", true, Some("/b/a.png"), true, Some(("/www", "/b"))),
            ("/www/a.png", true, Some("/b.png"), true, None),
            ("/srv/v1.2", true, Some("/dl"), false, Some(("/srv/v1.2", "/dl"))),
            ("/www/$x", false, None, false, None),
            ("/www", true, None, false, None),
            ("/www", false, None, false, Some(("/www", ""))),
        ] {
            assert_eq!(rooted(root, is_alias, prefix, is_exact), want, "{root} {prefix:?}");
        }
        assert_eq!(named("/app/index.html", "/app").as_deref(), Some("index.html"));
        assert_eq!(named("/404.html", "").as_deref(), Some("404.html"));
        assert_eq!((named("/$uri.html", ""), named("@a", ""), named("/a//b", "")), (None, None, None));
    }
}
