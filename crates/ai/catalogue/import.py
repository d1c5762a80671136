#!/usr/bin/env python3
"""Writes `<provider>.models.toml` from a table of facts about models: one line per model.

    crates/ai/catalogue/import.py FACTS.csv [DETAILS.json]

FACTS.csv has the columns of `data/model-facts.csv` (provider, model, mode, limits, list prices in US dollars
per million tokens, capabilities, retirement). DETAILS.json is the same table in its own form
(`model_prices_and_context_window_backup.json` inside the package `litellm` 1.106.2) and adds what the CSV leaves out:
hour-long cache writes, long-context tiers, batch, flex and priority prices, sound, pictures, prices by unit.

The output is sorted, so that a new table gives a diff that people can read. Nothing is written by hand into these
files: what a table gets wrong is put right in `CORRECTIONS`, with its source.
"""

import csv
import json
import pathlib
import re
import sys
from decimal import ROUND_HALF_UP, Decimal

TAKEN = "2026-11-23"
SOURCE = "the price table that LiteLLM 1.106.2 ships"

# Our provider, and the table's names for it. The first that has a model wins.
PROVIDERS = {
    "ai21": ["ai21"],
    "anthropic": ["anthropic"],
    "azure-foundry": ["azure_ai"],
    "azure-openai": ["azure", "azure_text"],
    "baseten": ["baseten"],
    "bedrock": ["bedrock_converse", "bedrock"],
    "bedrock-mantle": ["bedrock_mantle"],
    "cerebras": ["cerebras"],
    "cloudflare": ["cloudflare"],
    "cohere": ["cohere_chat", "cohere"],
    "databricks": ["databricks"],
    "deepgram": ["deepgram"],
    "deepinfra": ["deepinfra"],
    "deepseek": ["deepseek"],
    "elevenlabs": ["elevenlabs"],
    "fireworks": ["fireworks_ai", "fireworks_ai-embedding-models"],
    "gemini": ["gemini"],
    "groq": ["groq"],
    "hunyuan": ["tencent"],
    "hyperbolic": ["hyperbolic"],
    "jina": ["jina_ai"],
    "minimax": ["minimax"],
    "mistral": ["mistral", "codestral", "text-completion-codestral"],
    "moonshot": ["moonshot"],
    "nebius": ["nebius"],
    "novita": ["novita"],
    "nscale": ["nscale"],
    "nvidia-nim": ["nvidia_nim"],
    "ollama": ["ollama"],
    "openai": ["openai", "text-completion-openai"],
    "ovhcloud": ["ovhcloud"],
    "perplexity": ["perplexity"],
    "qwen": ["dashscope"],
    "sambanova": ["sambanova"],
    "scaleway": ["scaleway"],
    "stability": ["stability"],
    "together": ["together_ai"],
    "vercel": ["vercel_ai_gateway"],
    "vertex": [
        "vertex_ai", "vertex_ai-language-models", "vertex_ai-text-models", "vertex_ai-embedding-models",
        "vertex_ai-mistral_models", "vertex_ai-llama_models", "vertex_ai-ai21_models", "vertex_ai-deepseek_models",
        "vertex_ai-qwen_models", "vertex_ai-openai_models", "vertex_ai-zai_models", "vertex_ai-minimax_models",
        "vertex_ai-moonshot_models",
    ],
    "vertex-anthropic": ["vertex_ai-anthropic_models"],
    "volcengine": ["volcengine"],
    "voyage": ["voyage"],
    "wandb": ["wandb"],
    "watsonx": ["watsonx"],
    "xai": ["xai"],
    "zhipu": ["zai"],
}

MODES = {
    "chat": "chat", "responses": "responses", "completion": "completions", "embedding": "embeddings",
    "image_generation": "images", "image_edit": "image-edits", "audio_transcription": "transcriptions",
    "audio_speech": "speech", "realtime": "realtime", "rerank": "rerank", "moderation": "moderations",
}

# Prices by committed months or with the picture's size in the model's name are not models that a request can name.
NOT_MODELS = re.compile(r"commitment/|\d+-x-\d+|^(container|1024|256|512)|/(steps|max-x-max)")

# What the table gets wrong: (provider, model) and the fields that hold instead, with where that is written.
CORRECTIONS = {
    # A thousand times what its siblings cost; Cohere's pricing page has $0.10 for every Embed 3 model.
    ("cohere", "embed-multilingual-light-v3.0"): {"input_usd_per_mtok": "0.1"},
    # A thousand times too much, since a price per thousand tokens was taken for one per token: Azure Marketplace has
    # $0.0032 and $0.00971 per thousand for JAIS 30b Chat.
    ("azure-foundry", "jais-30b-chat"): {"input_usd_per_mtok": "3.2", "output_usd_per_mtok": "9.71"},
    # The same mistake, and watsonx no longer lists the model: better unknown than wrong.
    ("watsonx", "core42/jais-13b-chat"): {"input_usd_per_mtok": "", "output_usd_per_mtok": ""},
    # "Shut down" on that day with all of Imagen, for which `generateContent` of Gemini's image models is recommended
    # (Gemini API: Gemini deprecations, Image generation models; the release notes of papi-ai/google 0.15.5 of it).
    ("gemini", "imagen-3.0-fast-generate-001"): {"deprecation_date": "2026-08-17"},
    ("gemini", "imagen-3.0-generate-001"): {"deprecation_date": "2026-08-17"},
}

# What the table has no more, since Google turned it off (Vertex AI: Imagen 3, Imagen 4, "Discontinuation date: June 30,
# 2026"; at the Gemini API see above), with what a picture cost by then (Vertex AI pricing and Gemini API pricing, Imagen):
# whoever still names such a model under a budget hears the provider's own word for it, not that its price is unknown.
IMAGEN = {
    "imagen-3.0-fast-generate-001": "0.02",
    "imagen-3.0-generate-001": "0.04",
    "imagen-3.0-generate-002": "0.04",
    "imagen-4.0-fast-generate-001": "0.02",
    "imagen-4.0-generate-001": "0.04",
    "imagen-4.0-ultra-generate-001": "0.06",
}
ADDED = {
    provider: {name: {"mode": "images", "retires": day, "unit": {"image": price}} for name, price in IMAGEN.items()}
    for provider, day in {"gemini": "2026-08-17", "vertex": "2026-06-30"}.items()
}

# Where the table's 0 means free. Everywhere else it means that nobody knew, and is left out: a price of 0 would let
# budgets run away. (Google: Gemini API pricing, "Free of charge" for Gemma; Z.ai: Pricing, Flash models; Cloudflare:
# Workers AI pricing, LoRA models in beta; Mistral: Labs models; what runs on one's own machine.)
FREE = {
    "cloudflare": r"-lora$",
    "gemini": r"^gemma-|^gemini-exp-|^learnlm-",
    "mistral": r"^labs-|moderation",
    "ollama": r"^(?!.*-cloud$)",
    "openai": r"^omni-moderation",
    "zhipu": r"-flash$",
}

RATES = {
    "in": "input_cost_per_token",
    "out": "output_cost_per_token",
    "read": "cache_read_input_token_cost",
    "write": "cache_creation_input_token_cost",
    "audio-in": "input_cost_per_audio_token",
    "audio-out": "output_cost_per_audio_token",
    "image-in": "input_cost_per_image_token",
    "image-out": "output_cost_per_image_token",
    "thought": "output_cost_per_reasoning_token",
}
CSV_RATES = {
    "in": "input_usd_per_mtok", "out": "output_usd_per_mtok",
    "read": "cache_read_usd_per_mtok", "write": "cache_write_usd_per_mtok",
}
UNITS = {
    "second-in": "input_cost_per_second", "second-out": "output_cost_per_second",
    "character": "input_cost_per_character", "query": "input_cost_per_query", "page": "ocr_cost_per_page",
}


def decimal(value, places):
    """A price with at most so many places, as short as it goes; `None` for what is not a price."""
    if value is None or value == "" or isinstance(value, (dict, list)):
        return None
    rounded = Decimal(str(value)).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    if rounded < 0:
        return None
    text = format(rounded, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def per_million(value):
    return None if value is None or isinstance(value, (dict, list)) else decimal(Decimal(str(value)) * 10**6, 6)


def rates(details, suffix):
    """Prices per million tokens with a suffix in the table's keys, such as `_batches`."""
    found = {name: per_million(details.get(key + suffix)) for name, key in RATES.items()}
    long = details.get("cache_creation_input_token_cost_above_1hr" + suffix)
    found["write-long"] = per_million(long)
    return {name: price for name, price in found.items() if price is not None}


def tiers(details, suffix):
    """Prices of long prompts: `input_cost_per_token_above_200k_tokens` and its siblings, and Qwen's ranges."""
    edges = sorted({int(edge) for key in details
                    for edge in re.findall(r"^input_cost_per_token_above_(\d+)k_tokens" + suffix + "$", key)})
    found = []
    for edge in edges:
        tier = {"over": edge * 1000} | rates(details, f"_above_{edge}k_tokens{suffix}")
        long = per_million(details.get(f"cache_creation_input_token_cost_above_1hr_above_{edge}k_tokens{suffix}"))
        if long:
            tier["write-long"] = long
        found.append(tier)
    if not found and not suffix:
        for tier in details.get("tiered_pricing") or []:
            if "range" in tier and tier.get("input_cost_per_token") is not None:
                found.append({"over": int(tier["range"][0])} | rates(tier, ""))
    return found


def claude_hour(name, prices):
    """An hour in the cache costs twice the input price, five minutes 1.25 times (Anthropic: Prompt caching, Pricing)."""
    if "claude" in name and "write" in prices and "in" in prices:
        prices.setdefault("write-long", decimal(Decimal(prices["in"]) * 2, 6))


def in_proportion(long, found, prices):
    """Rates of long prompts in a class of service for which none are told: as much dearer as they commonly are (Google:
    Gemini API pricing, where batches cost half at every length)."""
    if not long or "in" not in found or Decimal(prices.get("in", "0")) == 0:
        return []
    share = Decimal(found["in"]) / Decimal(prices["in"])
    return [{key: value if key == "over" else decimal(Decimal(value) * share, 6) for key, value in tier.items()}
            for tier in long]


def unknown(provider, name, prices):
    """Whether prices of 0 are no prices."""
    told = [prices[key] for key in ("in", "out") if key in prices]
    return all(price == "0" for price in told) and not re.search(FREE.get(provider, "^$"), name)


def prices_of(provider, name, row, details):
    """Prices of tokens, of tokens in other classes of service, and of units, each under its key in a model's line."""
    classes = {}
    prices = rates(details, "")
    for ours, theirs in CSV_RATES.items():
        price = decimal(row[theirs], 6)
        if price is not None:
            prices[ours] = price
        elif row.get("corrected"):
            prices.pop(ours, None)
    long = tiers(details, "")
    if long and long[0]["over"] == 0:
        # Ranges from nought: the first is the common price.
        prices = {key: value for key, value in long.pop(0).items() if key != "over"} | prices
    if unknown(provider, name, prices):
        prices.pop("in", None)
        prices.pop("out", None)
    claude_hour(name, prices)
    for tier in long:
        claude_hour(name, tier)
    if long:
        prices["above"] = long
    for ours, suffix in {"batch": "_batches", "flex": "_flex", "priority": "_priority"}.items():
        found = rates(details, suffix)
        if "in" in found or "out" in found:
            claude_hour(name, found)
            above = tiers(details, suffix) or in_proportion(long, found, prices)
            if above:
                found["above"] = above
            classes[ours] = found
    if prices.get("thought") == prices.get("out"):
        prices.pop("thought", None)
    units = {ours: decimal(details.get(theirs), 12) for ours, theirs in UNITS.items()}
    units["image"] = decimal(row["usd_per_image"], 12)
    units = {ours: price for ours, price in units.items() if price not in (None, "0")}
    return {"price": prices or None, **classes, "unit": units or None}


def toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(inner) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def whole(value):
    """A number of tokens, written as 128000, 128000.0 or 1.28e5; nothing for what is none."""
    return int(Decimal(value)) if value and re.fullmatch(r"[0-9.eE+]+", value) and Decimal(value) > 0 else None


def line(provider, name, row, details):
    mode = MODES.get(row["mode"])
    model = {
        "mode": mode,
        "context": whole(row["max_input_tokens"]),
        "output": whole(row["max_output_tokens"]) if mode in ("chat", "responses", "completions", "realtime") else None,
        "vector": whole(row["vector_size"]),
        "retires": row["deprecation_date"] if re.fullmatch(r"\d{4}-\d\d-\d\d", row["deprecation_date"]) else None,
        "can": row["capabilities"].replace("_", "-") or None,
    } | prices_of(provider, name, row, details)
    return toml({key: value for key, value in model.items() if value is not None})


def main():
    facts = list(csv.DictReader(open(sys.argv[1], encoding="utf-8")))
    table = json.load(open(sys.argv[2], encoding="utf-8")) if len(sys.argv) > 2 else {}
    more = {}
    for key, details in table.items():
        provider = details.get("litellm_provider")
        more.setdefault((provider, key), details)
        more.setdefault((provider, key.partition("/")[2]), details)
    here = pathlib.Path(__file__).parent
    total = 0
    for ours, theirs in sorted(PROVIDERS.items()):
        models = {}
        for their in theirs:
            for row in (row for row in facts if row["provider"] == their and row["mode"] in MODES):
                name = re.sub(r"^(azure|vertex_ai|fireworks_ai|bedrock|watsonx|together_ai)/", "", row["model"])
                if NOT_MODELS.search(row["model"]) or name in models:
                    continue
                if (ours, name) in CORRECTIONS:
                    right = CORRECTIONS[ours, name]
                    row = row | right | {"corrected": any(key.endswith("_usd_per_mtok") for key in right)}
                models[name] = line(ours, name, row, more.get((their, row["model"]), {}))
        for name, model in ADDED.get(ours, {}).items():
            models.setdefault(name, toml(model))
        head = (f"# Written by import.py; see there. List prices in US dollars per million tokens, or per unit.\n"
                f'taken = "{TAKEN}"\nsource = "{SOURCE}"\n\n[models]\n')
        body = "".join(f"{json.dumps(name, ensure_ascii=False)} = {models[name]}\n" for name in sorted(models))
        (here / f"{ours}.models.toml").write_text(head + body, encoding="utf-8")
        total += len(models)
    print(f"{total} models of {len(PROVIDERS)} providers")


main()
