//! What operations are measured by: a schema with its costs, the operator's own, bounds, and rules about fields.

use std::collections::BTreeMap;

use crate::{
    document::Kind,
    limits::Limits,
    measure::larger,
    schema::{ByName, FieldDef, ListSize, Schema, Shape, Type, steps},
};

/// Rules that one guard may have, each a bit of what an operation touches.
pub(crate) const RULES_MAX: usize = 64;

/// What an operator says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bounds.
    pub limits: Limits,
    /// What a type or a field costs, by `Type` or `Type.field`, whatever the schema says.
    pub costs: BTreeMap<String, f64>,
    /// How long a list is taken to be at least, by `Type.field`, whatever the schema says.
    pub list_sizes: BTreeMap<String, f64>,
    /// How long lists are taken to be of which nothing is known.
    pub default_list_size: f64,
    /// What an object costs of which nothing else is known.
    pub object_cost: f64,
    /// What a scalar costs of which nothing else is known.
    pub leaf_cost: f64,
    /// Arguments that tell the length of lists where the schema does not say which.
    pub slicing: Vec<String>,
    /// Whether clients may ask for the schema.
    pub introspection: bool,
    /// Whether fields pass that the schema does not have.
    pub passes_unknown: bool,
    /// Rules: the fields that each is about, by `Type.field` or `Type.*`.
    pub rules: Vec<Vec<String>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            costs: BTreeMap::new(),
            list_sizes: BTreeMap::new(),
            default_list_size: 10.0,
            object_cost: 1.0,
            leaf_cost: 0.0,
            slicing: ["first", "last", "limit"].map(String::from).to_vec(),
            introspection: false,
            passes_unknown: false,
            rules: Vec::new(),
        }
    }
}

/// What is known of fields by their names alone, where it is not known which type they are of.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Loose {
    pub(crate) weight: Option<f64>,
    pub(crate) size: Option<f64>,
    pub(crate) rules: u64,
}

/// What operations are measured by.
#[derive(Debug)]
pub struct Guard {
    pub(crate) settings: Settings,
    pub(crate) schema: Option<Schema>,
    pub(crate) loose: ByName<Loose>,
    /// Rules about everything at the root, where no schema says what that is.
    pub(crate) roots: [u64; 3],
    pub(crate) slicing: Vec<Vec<Box<str>>>,
}

impl Guard {
    /// Compiles what an operator says.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    pub fn compile(settings: Settings, schema: Option<Schema>) -> Result<Self, String> {
        if settings.rules.len() > RULES_MAX {
            return Err(format!(
                "has {} rules about fields; expected {RULES_MAX} at most",
                settings.rules.len()
            ));
        }
        let mut guard = Self {
            slicing: settings.slicing.iter().map(|name| steps(name)).collect(),
            loose: ByName::default(),
            roots: [0; 3],
            schema,
            settings,
        };
        let settings = guard.settings.clone();
        for (name, cost) in &settings.costs {
            guard.cost(name, *cost).map_err(|error| format!("`costs`: {error}"))?;
        }
        for (name, size) in &settings.list_sizes {
            guard.size(name, *size).map_err(|error| format!("`listSizes`: {error}"))?;
        }
        for (bit, fields) in settings.rules.iter().enumerate() {
            for name in fields {
                guard.rule(name, 1 << bit).map_err(|error| format!("`fields`: {error}"))?;
            }
        }
        if let Some(schema) = &mut guard.schema {
            share(schema, &settings, &guard.slicing);
        }
        Ok(guard)
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    fn cost(&mut self, name: &str, cost: f64) -> Result<(), String> {
        match (name.split_once('.'), &mut self.schema) {
            (None, Some(schema)) => type_of(schema, name)?.weight = Some(cost),
            (None, None) => {
                return Err(format!("`{name}` is a type, and types are known by a `schema` alone"));
            }
            (Some((type_, field)), Some(schema)) => {
                let known = type_of(schema, type_)?.fields.get_mut(field);
                known.ok_or_else(|| format!("the schema has no field `{name}`"))?.weight = Some(cost);
            }
            (Some((_, field)), None) => {
                let known = self.loose.entry(field.into()).or_default();
                known.weight = Some(known.weight.map_or(cost, |other| other.max(cost)));
            }
        }
        Ok(())
    }

    fn size(&mut self, name: &str, size: f64) -> Result<(), String> {
        let Some((type_, field)) = name.split_once('.') else {
            return Err(format!("expected `Type.field`, found `{name}`"));
        };
        match &mut self.schema {
            Some(schema) => {
                let known = type_of(schema, type_)?.fields.get_mut(field);
                let known = known.ok_or_else(|| format!("the schema has no field `{name}`"))?;
                let known = known.size.get_or_insert_with(ListSize::default);
                (known.assumed, known.least) = (None, Some(size));
            }
            None => {
                let known = self.loose.entry(field.into()).or_default();
                known.size = Some(known.size.map_or(size, |other| other.max(size)));
            }
        }
        Ok(())
    }

    fn rule(&mut self, name: &str, bit: u64) -> Result<(), String> {
        let Some((type_, field)) = name.split_once('.') else {
            return Err(format!("expected `Type.field` or `Type.*`, found `{name}`"));
        };
        let Some(schema) = &mut self.schema else {
            if field != "*" {
                self.loose.entry(field.into()).or_default().rules |= bit;
                return Ok(());
            }
            let kinds =
                [("Query", Kind::Query), ("Mutation", Kind::Mutation), ("Subscription", Kind::Subscription)];
            let found = kinds.iter().find(|(known, _)| *known == type_).ok_or_else(|| {
                format!(
                    "`{name}` needs a `schema`; without one `.*` is known of Query, Mutation and Subscription"
                )
            })?;
            self.roots[found.1 as usize] |= bit;
            return Ok(());
        };
        let known = type_of(schema, type_)?;
        if field == "*" {
            if known.fields.is_empty() {
                return Err(format!("`{type_}` has no fields"));
            }
            known.rules |= bit;
        } else if !known.fields.contains_key(field) {
            return Err(format!("the schema has no field `{name}`"));
        }
        for (own, definition) in &mut known.fields {
            if field == "*" || &**own == field {
                definition.rules |= bit;
                // Below what the schema does not know, a field is taken for any of its name.
                self.loose.entry(own.clone()).or_default().rules |= bit;
            }
        }
        Ok(())
    }
}

fn type_of<'s>(schema: &'s mut Schema, name: &str) -> Result<&'s mut Type, String> {
    let place = schema.names.get(name).copied();
    let known = place.and_then(|place| schema.types.get_mut(place));
    known.ok_or_else(|| format!("the schema has no type `{name}`"))
}

/// What holds of a field holds of it through an interface, too: whoever asks for an interface's field may get any of
/// those that it stands for, and the other way round.
fn share(schema: &mut Schema, settings: &Settings, slicing: &[Vec<Box<str>>]) {
    let before = schema.types.clone();
    let is_abstract = |known: &Type| known.shape == Shape::Abstract;
    // Types first, for the weights of fields are those of their types where they have none.
    for (place, known) in before.iter().enumerate().filter(|(_, known)| is_abstract(known)) {
        let members = known.members.iter().filter_map(|member| before.get(*member));
        let weights = members.map(|member| member.weight);
        let shared = largest(known.weight, weights, settings.object_cost);
        if let Some(known) = schema.types.get_mut(place) {
            known.weight = shared;
        }
    }
    let own = schema.types.clone();
    for (place, abstract_) in own.iter().enumerate().filter(|(_, known)| is_abstract(known)) {
        let members = || abstract_.members.iter().filter_map(|member| Some((*member, own.get(*member)?)));
        for (member, concrete) in members() {
            if let Some(known) = schema.types.get_mut(member) {
                known.rules |= abstract_.rules;
            }
            if let Some(known) = schema.types.get_mut(place) {
                known.rules |= concrete.rules;
            }
        }
        for (name, outer) in &abstract_.fields {
            let inner: Vec<(usize, &FieldDef)> = members()
                .filter_map(|(member, concrete)| Some((member, concrete.fields.get(name)?)))
                .collect();
            let usual = own_weight(outer, &own, settings);
            let weight = largest(outer.weight, inner.iter().map(|(_, field)| field.weight), usual);
            let size = size_of_all(outer, &inner, settings, slicing);
            let rules = inner.iter().fold(0, |all, (_, field)| all | field.rules);
            if let Some(field) = field_mut(schema, place, name) {
                field.rules |= rules;
                field.weight = weight;
                field.size = size;
            }
            for (member, _) in inner {
                let Some(field) = field_mut(schema, member, name) else { continue };
                field.rules |= outer.rules;
                field.weight = larger(field.weight, outer.weight);
                if field.size.is_none() {
                    field.size = outer.size.clone();
                }
            }
        }
    }
}

/// What a field costs that says nothing itself.
fn own_weight(field: &FieldDef, types: &[Type], settings: &Settings) -> f64 {
    let type_ = field.type_.and_then(|place| types.get(place));
    let usual = match type_.map(|type_| type_.shape) {
        Some(Shape::Object | Shape::Abstract) => settings.object_cost,
        _ => settings.leaf_cost,
    };
    type_.and_then(|type_| type_.weight).unwrap_or(usual)
}

/// The largest weight of something abstract and of its members, of which those that say nothing have the usual one.
/// Nothing where nobody says anything.
fn largest(own: Option<f64>, members: impl Iterator<Item = Option<f64>>, usual: f64) -> Option<f64> {
    let (mut found, mut says) = (own, own.is_some());
    for member in members {
        says |= member.is_some();
        found = larger(found, Some(member.unwrap_or(usual)));
    }
    found.filter(|_| says)
}

/// How long a list of an interface may be: as long as that of any member, told by whatever tells it of one of them.
fn size_of_all(
    outer: &FieldDef,
    members: &[(usize, &FieldDef)],
    settings: &Settings,
    slicing: &[Vec<Box<str>>],
) -> Option<ListSize> {
    let all: Vec<&FieldDef> = members.iter().map(|(_, field)| *field).collect();
    let mut given = all.iter().copied().chain([outer]).filter_map(|field| field.size.as_ref());
    let mut made = given.next()?.clone();
    let is_silent = |field: &&FieldDef| field.size.is_none();
    let mut is_any = made.sized.is_empty();
    let mut is_usual = made.slicing.is_empty();
    for size in given {
        made.assumed = larger(made.assumed, size.assumed);
        made.least = larger(made.least, size.least);
        is_any |= size.sized.is_empty();
        is_usual |= size.slicing.is_empty();
        made.slicing.extend(size.slicing.iter().cloned());
        made.sized.extend(size.sized.iter().cloned());
    }
    // A member that has not a word of it is as any list.
    let tells_nothing = |field: &&FieldDef| {
        field.size.as_ref().is_none_or(|size| size.assumed.is_none() && size.least.is_none())
    };
    if outer.lists > 0 && all.iter().any(tells_nothing) && (made.assumed.is_some() || made.least.is_some()) {
        made.assumed = larger(made.assumed, Some(settings.default_list_size));
    }
    if is_usual || all.iter().any(is_silent) {
        made.slicing.extend(slicing.iter().cloned());
    }
    if outer.lists == 0 && is_any {
        made.sized.clear();
    }
    Some(made)
}

fn field_mut<'s>(schema: &'s mut Schema, type_: usize, name: &str) -> Option<&'s mut FieldDef> {
    schema.types.get_mut(type_)?.fields.get_mut(name)
}
