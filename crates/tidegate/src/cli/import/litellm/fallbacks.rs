//! Models that stand in for others: fallbacks, aliases, and orders of deployments.

use serde_json::Value;

use super::{Import, Model};

impl Import {
    /// A model that later orders alone serve is shared by them.
    pub(super) fn share(&mut self) {
        for Model { targets, .. } in &mut self.models {
            if targets.iter().all(|target| target["weight"] == 0) {
                targets.iter_mut().for_each(|target| target["weight"] = 1.into());
            }
        }
    }

    /// `{alias: model}`.
    pub(super) fn aliases(&mut self, aliases: &Value, section: &str) {
        for (alias, of) in aliases.as_object().into_iter().flatten() {
            let of = of.as_str().or_else(|| of.get("model").and_then(Value::as_str)).unwrap_or_default();
            match self.models.iter().find(|model| model.name == of).cloned() {
                Some(model) => self.models.push(Model { name: alias.clone(), ..model }),
                None => self.note(
                    &format!("{section}.model_group_alias.{alias}"),
                    format_args!("there is no model `{of}`"),
                ),
            }
        }
    }

    /// `[{model: [others]}]`: the others' targets serve when all of the model's own fail, or after what `on` says.
    pub(super) fn fallbacks(&mut self, fallbacks: &Value, section: &str, on: Option<&'static str>) {
        for (index, one) in fallbacks.as_array().into_iter().flatten().enumerate() {
            for (model, others) in one.as_object().into_iter().flatten() {
                let place = format!("{section}[{index}].{model}");
                for other in others.as_array().into_iter().flatten() {
                    self.fall_back(model, other.as_str().unwrap_or_default(), &place);
                }
                let Some(on) = on else { continue };
                if let Some(known) = self.models.iter_mut().find(|known| known.name == *model)
                    && !known.fallback_on.contains(&on)
                {
                    known.fallback_on.push(on);
                    self.note(&place, "these targets serve after any other failure, too");
                }
            }
        }
    }

    pub(super) fn default_fallbacks(&mut self, others: &Value) {
        let names: Vec<String> = self.models.iter().map(|model| model.name.clone()).collect();
        for name in names.iter().filter(|name| !name.ends_with('*')) {
            for other in others.as_array().into_iter().flatten().filter_map(Value::as_str) {
                if other != name {
                    self.fall_back(name, other, "litellm_settings.default_fallbacks");
                }
            }
        }
    }

    fn fall_back(&mut self, model: &str, other: &str, place: &str) {
        let theirs = self.models.iter().find(|known| known.name == other && !other.ends_with('*'));
        let Some(theirs) = theirs.map(|known| known.targets.clone()) else {
            return self.note(place, format_args!("there is no model `{other}`"));
        };
        let Some(own) = self.models.iter_mut().find(|known| known.name == model) else {
            return self.note(place, format_args!("there is no model `{model}`"));
        };
        for mut target in theirs {
            target["weight"] = 0.into();
            let is_there = own.targets.iter().any(|known| {
                (&known["provider"], &known["model"]) == (&target["provider"], &target["model"])
            });
            if !is_there {
                own.targets.push(target);
            }
        }
    }
}
