//! LiteLLM's names of providers, and the kinds of ours that they are.

use ai::catalogue::{self, Auth};

/// Their name and ours, where the two differ.
const NAMES: [(&str, &str); 15] = [
    ("azure", "azure-openai"),
    ("azure_ai", "azure-foundry"),
    ("cohere_chat", "cohere"),
    ("custom_openai", "openai-compatible"),
    ("openai_like", "openai-compatible"),
    ("text-completion-openai", "openai"),
    ("fireworks_ai", "fireworks"),
    ("together_ai", "together"),
    ("vertex_ai", "vertex"),
    ("vertex_ai_beta", "vertex"),
    ("ollama_chat", "ollama"),
    ("hosted_vllm", "vllm"),
    ("dashscope", "qwen"),
    ("zai", "zhipu"),
    ("litellm_proxy", "openai-compatible"),
];

/// A model of theirs taken apart: the kind of provider and the model's own name.
pub(super) fn split(model: &str) -> Option<(&'static str, &str)> {
    if let Some((prefix, rest)) = model.split_once('/')
        && let Some(kind) = kind(prefix)
    {
        // `bedrock/converse/…` and the like say how, not which.
        let rest = ["converse/", "converse_like/", "invoke/", "responses/", "chat/"]
            .iter()
            .find_map(|how| rest.strip_prefix(how))
            .unwrap_or(rest);
        // Claude is served by Vertex in its own dialect.
        let kind = match kind {
            "vertex" if rest.starts_with("claude") => known("vertex-anthropic")?,
            kind => kind,
        };
        return Some((kind, rest));
    }
    // Without a prefix LiteLLM goes by the name.
    let guess = ["openai", "anthropic", "gemini", "cohere", "mistral", "deepseek"];
    guess.into_iter().find_map(|kind| Some((known(kind)?, catalogue::find(kind, model).map(|_| model)?)))
}

/// A model as its kind's own API names it. LiteLLM has Hugging Face's router told by the path which provider serves a
/// model (`together/deepseek-ai/DeepSeek-R1`), and the router by what follows the name (`deepseek-ai/DeepSeek-R1:together`).
pub(super) fn own_name(kind: &str, model: &str) -> String {
    match model.split_once('/') {
        Some((provider, name)) if kind == "huggingface" && name.contains('/') => format!("{name}:{provider}"),
        _ => model.to_owned(),
    }
}

/// What they call a kind of ours.
pub(super) fn theirs(kind: &str) -> &str {
    match kind {
        "openai" | "openai-compatible" => "openai",
        "cohere" => "cohere",
        "vertex-anthropic" => "vertex_ai",
        kind => NAMES.iter().find(|(_, ours)| *ours == kind).map_or(kind, |(theirs, _)| theirs),
    }
}

fn kind(theirs: &str) -> Option<&'static str> {
    let ours = NAMES.iter().find(|(name, _)| *name == theirs).map_or(theirs, |(_, ours)| *ours);
    known(ours).or_else(|| known(&theirs.replace('_', "-")))
}

fn known(name: &str) -> Option<&'static str> {
    catalogue::names().find(|known| *known == name)
}

/// Whether this build can show a kind of provider who calls.
pub(super) fn is_served(kind: &str) -> bool {
    let ways = catalogue::provider(kind).map(|provider| provider.auth.as_slice()).unwrap_or_default();
    ways.iter().any(|way| !matches!(way.auth, Auth::Query { .. }))
}

/// The variable in which a kind's key customarily is; none for kinds that need no key.
pub(super) fn variable(kind: &str) -> Option<String> {
    let credential = catalogue::provider(kind).ok()?.auth.first()?;
    match credential.auth {
        Auth::None => None,
        _ => credential.env.first().cloned(),
    }
}

/// Whether a kind's address leaves this open.
pub(super) fn leaves_open(kind: &str, placeholder: &str) -> bool {
    catalogue::provider(kind).is_ok_and(|provider| provider.placeholders.contains_key(placeholder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_behind_a_router_is_named_as_the_router_has_it() {
        for (theirs, kind, want) in [
            (
                "huggingface/together/deepseek-ai/DeepSeek-R1",
                "huggingface",
                "deepseek-ai/DeepSeek-R1:together",
            ),
            ("huggingface/deepseek-ai/DeepSeek-R1", "huggingface", "deepseek-ai/DeepSeek-R1"),
            ("huggingface/*", "huggingface", "*"),
            ("together_ai/meta-llama/Llama-3-8b/x", "together", "meta-llama/Llama-3-8b/x"),
        ] {
            let (found, model) = split(theirs).expect("a kind of ours");
            assert_eq!((found, own_name(found, model).as_str()), (kind, want), "{theirs}");
        }
    }
}
