//! `acl`.

use super::{CONSUMERS, ask, guarded, refused, with_policies};

#[test]
fn names_and_groups_let_in_and_deny_wins() {
    for (acl, gold, web) in [
        ("{allow: [partners]}", 200, 403),
        ("{allow: [web]}", 403, 200),
        ("{deny: [partners]}", 403, 200),
        ("{allow: [partners, web], deny: [gold]}", 403, 200),
    ] {
        // The list stands first in the file and runs second all the same.
        let (gateway, upstream) = guarded(&format!("[{{acl: {acl}}}, {{keyAuth: {{}}}}]"), CONSUMERS);
        for (key, status) in [("gold", gold), ("web", web)] {
            let answer = ask(&gateway, "/", &format!("\nx-api-key: {key}-key-of-the-test"));
            assert_eq!(answer.status, status, "{acl} {key}");
            if status == 403 {
                assert_eq!(answer.problem().as_deref(), Some("forbidden"));
            }
        }
        assert_eq!(ask(&gateway, "/", "").status, 401, "who is nobody is told to say who they are");
        assert_eq!(upstream.seen().len(), [gold, web].iter().filter(|status| **status == 200).count());
    }
}

#[test]
fn a_list_with_a_name_that_nobody_has_is_refused() {
    let text = with_policies("[{keyAuth: {}}, {acl: {allow: [partner]}}]");
    refused(&text, &["acl.allow[0]", "no consumer or group `partner`", "did you mean `partners`?"]);
}
