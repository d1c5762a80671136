//! What one operation amounts to: how deep it is, how many aliases it has, what it may cost, which rules it touches.
//!
//! Every fragment is measured once, and once more for each size that a page above it tells, and counted as often as it
//! is spread, so that what spreads itself through others exponentially is told at the price of reading it. Steps are
//! counted, and there are so many of them for each node of what was sent.

use std::{collections::HashMap, ptr::from_ref};

use serde_json::{Map, Value as Json};

use crate::{
    document::{Document, Field, Kind, Operation, Selection, Value, digits},
    guard::Guard,
    limits::{DESCENT_MAX, META_LISTS_MAX, STEPS_MIN, STEPS_PER_NODE},
    refusal::{Code, Refusal},
    schema::{FieldDef, InputDef, ListSize, Shape},
};

/// What an operation amounts to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Fields below one another.
    pub depth: u32,
    /// Fields, each as often as its fragment is spread.
    pub fields: u64,
    /// Aliases, counted so.
    pub aliases: u64,
    /// Directives, counted so.
    pub directives: u64,
    /// Fields at the root.
    pub root_fields: u64,
    /// What it may cost at most.
    pub cost: f64,
    /// The rules about fields that it asks for, a bit each.
    pub rules: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    depth: u32,
    fields: u64,
    aliases: u64,
    directives: u64,
    direct: u64,
    /// Whether any of those is more than the name of a type.
    asks: bool,
    /// Lists of the schema's description within one another.
    meta_lists: u32,
    cost: f64,
    rules: u64,
}

impl Totals {
    /// Adds what stands beside.
    fn add(&mut self, other: &Self) {
        self.depth = self.depth.max(other.depth);
        self.fields = self.fields.saturating_add(other.fields);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.directives = self.directives.saturating_add(other.directives);
        self.direct = self.direct.saturating_add(other.direct);
        self.asks |= other.asks;
        self.meta_lists = self.meta_lists.max(other.meta_lists);
        self.cost += other.cost;
        self.rules |= other.rules;
    }
}

/// What selections are about.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Parent {
    /// A type of the schema.
    Type(usize),
    /// Nobody knows.
    Unknown,
    /// The schema itself.
    Meta,
}

/// Lists whose size a field above them tells.
#[derive(Clone, Copy)]
struct Sized<'a> {
    size: f64,
    /// Their names; every list without any.
    fields: &'a [Box<str>],
}

impl Sized<'_> {
    /// What tells the measure of a fragment below it from others.
    fn key(&self, fragment: usize) -> Key {
        (fragment, self.size.to_bits(), self.fields.as_ptr() as usize, self.fields.len())
    }

    fn of(&self, name: &str) -> Option<f64> {
        let is_meant = self.fields.is_empty() || self.fields.iter().any(|field| &**field == name);
        is_meant.then_some(self.size)
    }
}

/// A value as it is given: in the document or as a variable.
#[derive(Clone, Copy)]
enum Given<'a> {
    Text(&'a Value),
    Json(&'a Json),
}

/// A fragment, a size, and the names of the lists that have it, by where they are.
type Key = (usize, u64, usize, usize);

type Memo<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

struct Measuring<'a> {
    guard: &'a Guard,
    document: &'a Document,
    operation: &'a Operation,
    variables: Option<&'a Map<String, Json>>,
    /// What fragments amount to, by their places.
    fragments: Vec<Totals>,
    /// What fragments amount to below pages.
    sized: Memo<Key, Totals>,
    /// What variables cost, by the definition of what they are given for.
    inputs: Memo<(usize, &'a str), f64>,
    steps: usize,
    descent: usize,
}

impl Guard {
    /// Tells what an operation amounts to.
    ///
    /// # Errors
    /// It is beyond a bound, asks for what the schema does not have, or for the schema.
    pub fn measure(
        &self,
        document: &Document,
        operation: &Operation,
        variables: Option<&Map<String, Json>>,
    ) -> Result<Measured, Refusal> {
        if document.introspects && !self.settings.introspection {
            return Err(Refusal::new(Code::Introspection, "the schema is not told here"));
        }
        let mut measuring = Measuring {
            guard: self,
            document,
            operation,
            variables,
            fragments: vec![Totals::default(); document.fragments.len()],
            sized: Memo::default(),
            inputs: Memo::default(),
            steps: STEPS_MIN + STEPS_PER_NODE * document.nodes(),
            descent: 0,
        };
        if self.schema.as_ref().is_some_and(|schema| schema.weighs_inputs) {
            let nodes: usize = variables.into_iter().flat_map(|all| all.values()).map(json_nodes).sum();
            measuring.steps += STEPS_PER_NODE * nodes;
        }
        let totals = measuring.whole()?;
        if totals.meta_lists > META_LISTS_MAX {
            return Err(Refusal::new(Code::Introspection, "the schema is not told over and over"));
        }
        let measured = Measured {
            depth: totals.depth,
            fields: totals.fields,
            aliases: totals.aliases,
            directives: totals.directives.saturating_add(operation.directives),
            root_fields: totals.direct,
            cost: totals.cost.max(0.0),
            rules: totals.rules,
        };
        self.judge(&measured)?;
        Ok(measured)
    }

    fn judge(&self, measured: &Measured) -> Result<(), Refusal> {
        let limits = &self.settings.limits;
        let over = |code, what: &str, found: u64, limit: u64| match found > limit {
            true => Err(Refusal::new(code, format!("the operation has {found} {what}, of {limit} at most"))),
            false => Ok(()),
        };
        over(Code::Depth, "fields below one another", measured.depth.into(), limits.depth.into())?;
        over(Code::Fields, "fields", measured.fields, limits.fields)?;
        over(Code::Aliases, "aliases", measured.aliases, limits.aliases)?;
        over(Code::RootFields, "fields at its root", measured.root_fields, limits.root_fields)?;
        over(Code::Directives, "directives", measured.directives, limits.directives)?;
        self.judge_cost(measured.cost)
    }

    /// Judges what all operations of a request may cost together.
    ///
    /// # Errors
    /// It is too much.
    pub fn judge_cost(&self, cost: f64) -> Result<(), Refusal> {
        match self.settings.limits.cost {
            Some(limit) if cost > limit => Err(Refusal::new(
                Code::Cost,
                format!("the request may cost {}, of {limit} at most", (cost * 100.0).round() / 100.0),
            )),
            _ => Ok(()),
        }
    }
}

impl<'a> Measuring<'a> {
    fn whole(&mut self) -> Result<Totals, Refusal> {
        let document = self.document;
        for place in &document.order {
            let Some(fragment) = document.fragments.get(*place) else { continue };
            let parent = self.condition(Parent::Unknown, Some(&fragment.on))?;
            let mut totals = self.selections(parent, &fragment.selections, None)?;
            totals.directives = totals.directives.saturating_add(fragment.directives);
            if let Some(slot) = self.fragments.get_mut(*place) {
                *slot = totals;
            }
        }
        let parent = match &self.guard.schema {
            None => Parent::Unknown,
            Some(schema) => match schema.root(self.operation.kind) {
                Some(root) => Parent::Type(root),
                None if self.guard.settings.passes_unknown => Parent::Unknown,
                None => {
                    let kind = self.operation.kind.as_str();
                    return Err(Refusal::new(Code::Invalid, format!("the schema has no {kind}")));
                }
            },
        };
        let mut totals = self.selections(parent, &self.operation.selections, None)?;
        if totals.asks {
            totals.rules |= self.guard.roots[self.operation.kind as usize];
        }
        Ok(totals)
    }

    /// What a fragment on a type is about.
    fn condition(&self, parent: Parent, on: Option<&str>) -> Result<Parent, Refusal> {
        let Some(on) = on else { return Ok(parent) };
        if on.starts_with("__") && self.guard.settings.introspection {
            return Ok(Parent::Meta);
        }
        let Some(schema) = &self.guard.schema else { return Ok(parent) };
        match schema.names.get(on) {
            Some(place) => Ok(Parent::Type(*place)),
            None if self.guard.settings.passes_unknown => Ok(Parent::Unknown),
            None => Err(Refusal::new(Code::Invalid, format!("the schema has no type `{on}`"))),
        }
    }

    fn steps(&mut self, count: usize) -> Result<(), Refusal> {
        self.steps = self.steps.checked_sub(count).ok_or_else(|| {
            Refusal::new(Code::Cost, "the operation takes too long to be measured".to_owned())
        })?;
        Ok(())
    }

    fn selections(
        &mut self,
        parent: Parent,
        selections: &'a [Selection],
        sized: Option<Sized<'a>>,
    ) -> Result<Totals, Refusal> {
        // Below pages this goes through fragments, of which a chain may be as long as the document.
        if self.descent >= DESCENT_MAX {
            return Err(Refusal::new(Code::Depth, "the operation is nested too deeply to be measured"));
        }
        self.descent += 1;
        let totals = self.beside(parent, selections, sized);
        self.descent -= 1;
        totals
    }

    /// Selections that stand beside one another.
    fn beside(
        &mut self,
        parent: Parent,
        selections: &'a [Selection],
        sized: Option<Sized<'a>>,
    ) -> Result<Totals, Refusal> {
        let mut totals = Totals::default();
        // Of fragments on types that exclude each other, the most expensive counts.
        let mut apart: Vec<(usize, f64)> = Vec::new();
        for selection in selections {
            self.steps(1)?;
            let (one, about) = match selection {
                Selection::Field(field) => (self.field(parent, field, sized)?, None),
                Selection::Inline { on, directives, selections } => {
                    let about = self.condition(parent, on.as_deref())?;
                    let mut one = self.selections(about, selections, sized)?;
                    one.directives = one.directives.saturating_add(*directives);
                    (one, Some(about))
                }
                Selection::Spread { fragment, directives } => {
                    let (mut one, about) = self.spread(parent, *fragment, sized)?;
                    one.directives = one.directives.saturating_add(*directives);
                    (one, Some(about))
                }
            };
            match self.excludes(parent, about) {
                Some(concrete) => {
                    totals.add(&Totals { cost: 0.0, ..one });
                    match apart.iter_mut().find(|(known, _)| *known == concrete) {
                        Some((_, cost)) => *cost += one.cost,
                        None => apart.push((concrete, one.cost)),
                    }
                }
                None => totals.add(&one),
            }
        }
        totals.cost += apart.iter().map(|(_, cost)| *cost).fold(0.0, f64::max);
        Ok(totals)
    }

    /// A fragment where it is spread.
    fn spread(
        &mut self,
        parent: Parent,
        fragment: usize,
        sized: Option<Sized<'a>>,
    ) -> Result<(Totals, Parent), Refusal> {
        let Some(known) = self.document.fragments.get(fragment) else {
            return Ok((Totals::default(), parent));
        };
        let about = self.condition(parent, Some(&known.on))?;
        let Some(size) = sized else {
            return Ok((self.fragments.get(fragment).copied().unwrap_or_default(), about));
        };
        let key = size.key(fragment);
        if let Some(found) = self.sized.get(&key) {
            return Ok((*found, about));
        }
        let mut found = self.selections(about, &known.selections, sized)?;
        found.directives = found.directives.saturating_add(known.directives);
        self.sized.insert(key, found);
        Ok((found, about))
    }

    /// The one type that a fragment below an abstract one is about.
    fn excludes(&self, parent: Parent, about: Option<Parent>) -> Option<usize> {
        let (Parent::Type(parent), Some(Parent::Type(about))) = (parent, about) else { return None };
        let types = &self.guard.schema.as_ref()?.types;
        let is_apart =
            types.get(parent)?.shape == Shape::Abstract && types.get(about)?.shape == Shape::Object;
        is_apart.then_some(about)
    }

    fn field(
        &mut self,
        parent: Parent,
        field: &'a Field,
        sized: Option<Sized<'a>>,
    ) -> Result<Totals, Refusal> {
        let mut totals = Totals {
            depth: 1,
            fields: 1,
            aliases: field.is_aliased.into(),
            directives: field.directives,
            direct: 1,
            ..Totals::default()
        };
        let name = &*field.name;
        if name == "__typename" {
            return Ok(totals);
        }
        totals.asks = true;
        self.steps(field.arguments.len())?;
        let settings = &self.guard.settings;
        let below = match (parent, &self.guard.schema) {
            (Parent::Meta, _) => Parent::Meta,
            _ if matches!(name, "__schema" | "__type") => Parent::Meta,
            (Parent::Type(place), Some(schema)) => {
                let guard = self.guard;
                let known = guard.schema.as_ref().and_then(|schema| schema.types.get(place));
                match known.and_then(|type_| type_.fields.get(name)) {
                    Some(definition) => return self.known_field(definition, field, sized, totals),
                    None if settings.passes_unknown => {
                        totals.rules |= known.map_or(0, |type_| type_.rules);
                        Parent::Unknown
                    }
                    None => {
                        let on = schema.types.get(place).map_or("", |type_| &type_.name);
                        return Err(Refusal::new(
                            Code::Invalid,
                            format!("the schema has no field `{name}` on `{on}`"),
                        ));
                    }
                }
            }
            _ => Parent::Unknown,
        };
        let loose = match below {
            Parent::Meta => Default::default(),
            _ => self.guard.loose.get(name).copied().unwrap_or_default(),
        };
        totals.rules |= loose.rules;
        let is_object = !field.selections.is_empty();
        if name == "query" && is_object && below == Parent::Unknown {
            // What a mutation gives back may have all queries below it, by this name.
            totals.rules |= self.guard.roots[Kind::Query as usize];
        }
        let told = match (is_object, below) {
            (true, Parent::Unknown) => self.sliced(field, None, &self.guard.slicing),
            _ => None,
        };
        let count = larger(told, loose.size).unwrap_or(1.0);
        let weight =
            loose.weight.unwrap_or(if is_object { settings.object_cost } else { settings.leaf_cost });
        let children = self.selections(below, &field.selections, None)?;
        let mut totals = sum(totals, &children, times(count, weight + children.cost), 0.0);
        if parent == Parent::Meta && META_LISTS.contains(&name) {
            totals.meta_lists = totals.meta_lists.saturating_add(1);
        }
        Ok(totals)
    }

    /// A field that the schema has.
    fn known_field(
        &mut self,
        definition: &'a FieldDef,
        field: &'a Field,
        sized: Option<Sized<'a>>,
        mut totals: Totals,
    ) -> Result<Totals, Refusal> {
        let guard = self.guard;
        totals.rules |= definition.rules;
        let type_ = definition.type_.and_then(|place| guard.schema.as_ref()?.types.get(place));
        let is_composite = type_.is_some_and(|type_| matches!(type_.shape, Shape::Object | Shape::Abstract));
        let settings = &guard.settings;
        let usual = if is_composite { settings.object_cost } else { settings.leaf_cost };
        let weight = definition.weight.or_else(|| type_.and_then(|type_| type_.weight)).unwrap_or(usual);
        let annotated = definition.size.as_ref();
        let slicing = annotated.map(|size| &size.slicing).filter(|slicing| !slicing.is_empty());
        let told = self.sliced(field, Some(definition), slicing.unwrap_or(&guard.slicing));
        let assumed = annotated.and_then(|size| size.assumed);
        let least = annotated.and_then(|size| size.least);
        let size = larger(told.or(assumed), least);
        let above = sized.and_then(|sized| sized.of(&field.name));
        let count = match definition.lists {
            0 => 1.0,
            lists => {
                // Of what a page tells of any list and what is told of this one itself, the latter holds.
                let is_own = told.is_some() && sized.is_some_and(|sized| sized.fields.is_empty());
                let own = if is_own { size } else { larger(size, above) };
                let rest = settings.default_list_size.powi(i32::try_from(lists - 1).unwrap_or(i32::MAX));
                times(own.unwrap_or(settings.default_list_size), rest)
            }
        };
        // A page: the lists are below the field that tells their size.
        let fields: &'a [Box<str>] = annotated.map_or(&[][..], |size: &ListSize| &size.sized);
        let is_page = is_composite && (definition.lists == 0 || !fields.is_empty());
        let below = match size.filter(|_| is_page) {
            Some(size) => Some(Sized { size, fields }),
            // One object below a page may have its lists.
            None if is_composite && definition.lists == 0 => sized.filter(|sized| sized.fields.is_empty()),
            None => None,
        };
        let parent = match definition.type_ {
            Some(place) if is_composite => Parent::Type(place),
            _ if settings.passes_unknown || field.selections.is_empty() => Parent::Unknown,
            _ => {
                let told = format!("`{}` has no fields to choose from", field.name);
                return Err(Refusal::new(Code::Invalid, told));
            }
        };
        let children = self.selections(parent, &field.selections, below)?;
        let given = self.arguments(definition, field)?;
        Ok(sum(totals, &children, times(count, weight + children.cost), given))
    }

    /// What arguments cost.
    fn arguments(&mut self, definition: &'a FieldDef, field: &'a Field) -> Result<f64, Refusal> {
        let mut cost = 0.0;
        if self.guard.schema.as_ref().is_some_and(|schema| schema.weighs_inputs) {
            for (name, value) in &field.arguments {
                if let Some(input) = definition.arguments.get(name) {
                    cost += self.input(input, Given::Text(value))?;
                }
            }
        }
        Ok(cost)
    }

    fn input(&mut self, definition: &'a InputDef, given: Given<'a>) -> Result<f64, Refusal> {
        self.steps(1)?;
        let guard = self.guard;
        let type_ = definition.type_.and_then(|place| guard.schema.as_ref()?.types.get(place));
        let own = definition.weight.or_else(|| type_.and_then(|type_| type_.weight)).unwrap_or(0.0);
        let mut cost = 0.0;
        match given {
            Given::Text(Value::Null) | Given::Json(Json::Null) => {}
            Given::Text(Value::Variable(name)) => {
                let key = (from_ref(definition).addr(), &**name);
                if let Some(known) = self.inputs.get(&key) {
                    return Ok(*known);
                }
                if let Some(given) = self.variable(name) {
                    cost += self.input(definition, given)?;
                }
                self.inputs.insert(key, cost);
            }
            Given::Text(Value::List(items)) => {
                for item in items {
                    cost += self.input(definition, Given::Text(item))?;
                }
            }
            Given::Json(Json::Array(items)) => {
                for item in items {
                    cost += self.input(definition, Given::Json(item))?;
                }
            }
            Given::Text(Value::Object(fields)) => {
                cost += own;
                for (name, value) in fields {
                    if let Some(input) = type_.and_then(|type_| type_.inputs.get(name)) {
                        cost += self.input(input, Given::Text(value))?;
                    }
                }
            }
            Given::Json(Json::Object(fields)) => {
                cost += own;
                for (name, value) in fields {
                    if let Some(input) = type_.and_then(|type_| type_.inputs.get(name.as_str())) {
                        cost += self.input(input, Given::Json(value))?;
                    }
                }
            }
            Given::Text(_) | Given::Json(_) => cost += own,
        }
        Ok(cost)
    }

    /// What a variable is: what the client gave, or what the document says otherwise.
    fn variable(&self, name: &str) -> Option<Given<'a>> {
        if let Some(given) = self.variables.and_then(|all| all.get(name)) {
            return Some(Given::Json(given));
        }
        self.operation.defaults.get(name).map(Given::Text)
    }

    /// The largest size that arguments tell.
    fn sliced(
        &self,
        field: &'a Field,
        definition: Option<&'a FieldDef>,
        slicing: &[Vec<Box<str>>],
    ) -> Option<f64> {
        let sizes = slicing.iter().filter_map(|path| {
            let (first, rest) = path.split_first()?;
            // What the schema's field does not have tells nothing of it.
            let input = match definition {
                Some(definition) => Some(definition.arguments.get(first)?),
                None => None,
            };
            let given = field.arguments.iter().find(|(name, _)| name == first);
            self.number(given.map(|(_, value)| Given::Text(value)), rest, input)
        });
        sizes.reduce(f64::max)
    }

    /// A number at a path, or what the schema says where nothing is given. What is not above nothing may mean that there
    /// is no bound, and tells nothing.
    fn number(
        &self,
        given: Option<Given<'a>>,
        path: &[Box<str>],
        input: Option<&'a InputDef>,
    ) -> Option<f64> {
        let given = match given {
            Some(Given::Text(Value::Variable(name))) => self.variable(name),
            given => given,
        };
        // A variable that nobody gave is as good as none.
        let given = match given {
            Some(given) => given,
            None => Given::Text(input?.default.as_ref()?),
        };
        let Some((first, rest)) = path.split_first() else {
            let number = match given {
                Given::Text(Value::Number(number)) => Some(*number),
                Given::Json(Json::Number(number)) => number.as_f64(),
                Given::Json(Json::String(text)) => digits(text),
                _ => None,
            };
            return number.filter(|number| *number > 0.0);
        };
        let inner = match given {
            Given::Text(Value::Object(fields)) => {
                fields.iter().find(|(name, _)| name == first).map(|(_, value)| Given::Text(value))
            }
            Given::Json(Json::Object(fields)) => fields.get(&**first).map(Given::Json),
            _ => return None,
        };
        let types = self.guard.schema.as_ref().map(|schema| &schema.types);
        let type_ = input.and_then(|input| types?.get(input.type_?));
        self.number(inner, rest, type_.and_then(|type_| type_.inputs.get(first)))
    }
}

/// Lists of the schema's description that lead back to themselves.
const META_LISTS: [&str; 4] = ["fields", "inputFields", "interfaces", "possibleTypes"];

fn json_nodes(value: &Json) -> usize {
    match value {
        Json::Array(items) => 1 + items.iter().map(json_nodes).sum::<usize>(),
        Json::Object(fields) => 1 + fields.values().map(json_nodes).sum::<usize>(),
        _ => 1,
    }
}

/// The larger of what there is.
pub(crate) fn larger(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    }
}

/// A field with what is below it.
fn sum(mut totals: Totals, children: &Totals, cost: f64, given: f64) -> Totals {
    totals.depth = children.depth.saturating_add(1);
    totals.fields = totals.fields.saturating_add(children.fields);
    totals.aliases = totals.aliases.saturating_add(children.aliases);
    totals.directives = totals.directives.saturating_add(children.directives);
    totals.rules |= children.rules;
    totals.meta_lists = children.meta_lists;
    totals.cost = (cost + given).max(0.0);
    totals
}

/// A product that is never no number: nothing of however much is nothing.
fn times(count: f64, each: f64) -> f64 {
    if count <= 0.0 || each <= 0.0 { 0.0 } else { count * each }
}
