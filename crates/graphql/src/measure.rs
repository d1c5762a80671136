//! What one operation amounts to: how deep it is, how many aliases it has, what it may cost, which rules it touches.
//!
//! Every fragment is measured once and counted as often as it is spread, so that what spreads itself through others
//! exponentially is told at the price of reading it.

use serde_json::{Map, Value as Json};

use crate::{
    document::{Document, Field, Operation, Selection, Value},
    guard::Guard,
    limits::STEPS_MAX,
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

struct Measuring<'a> {
    guard: &'a Guard,
    document: &'a Document,
    operation: &'a Operation,
    variables: Option<&'a Map<String, Json>>,
    /// What fragments amount to, by their places.
    fragments: Vec<Totals>,
    steps: usize,
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
            steps: STEPS_MAX,
        };
        let totals = measuring.whole()?;
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
        if totals.direct > 0 {
            totals.rules |= self.guard.roots[self.operation.kind as usize];
        }
        Ok(totals)
    }

    /// What a fragment on a type is about.
    fn condition(&self, parent: Parent, on: Option<&str>) -> Result<Parent, Refusal> {
        let (Some(on), Some(schema)) = (on, &self.guard.schema) else { return Ok(parent) };
        match schema.names.get(on) {
            Some(place) => Ok(Parent::Type(*place)),
            None if on.starts_with("__") && self.guard.settings.introspection => Ok(Parent::Meta),
            None if self.guard.settings.passes_unknown => Ok(Parent::Unknown),
            None => Err(Refusal::new(Code::Invalid, format!("the schema has no type `{on}`"))),
        }
    }

    fn step(&mut self) -> Result<(), Refusal> {
        self.steps = self.steps.checked_sub(1).ok_or_else(|| {
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
        let mut totals = Totals::default();
        // Of fragments on types that exclude each other, the most expensive counts.
        let mut apart: Vec<(usize, f64)> = Vec::new();
        for selection in selections {
            self.step()?;
            let (one, about) = match selection {
                Selection::Field(field) => (self.field(parent, field, sized)?, None),
                Selection::Inline { on, directives, selections } => {
                    let about = self.condition(parent, on.as_deref())?;
                    let mut one = self.selections(about, selections, sized)?;
                    one.directives = one.directives.saturating_add(*directives);
                    (one, Some(about))
                }
                Selection::Spread { fragment, directives } => {
                    let Some(known) = self.document.fragments.get(*fragment) else { continue };
                    let about = self.condition(parent, Some(&known.on))?;
                    let mut one = match sized {
                        None => self.fragments.get(*fragment).copied().unwrap_or_default(),
                        Some(_) => {
                            let mut one = self.selections(about, &known.selections, sized)?;
                            one.directives = one.directives.saturating_add(known.directives);
                            one
                        }
                    };
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
        let told = match (is_object, below) {
            (true, Parent::Unknown) => self.sliced(field, None, &self.guard.slicing),
            _ => None,
        };
        let count = told.or(loose.size).unwrap_or(1.0);
        let weight =
            loose.weight.unwrap_or(if is_object { settings.object_cost } else { settings.leaf_cost });
        let children = self.selections(below, &field.selections, None)?;
        Ok(sum(totals, &children, times(count, weight + children.cost), 0.0))
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
        let size = told.or(annotated.and_then(|size| size.assumed));
        let count = match definition.lists {
            0 => 1.0,
            lists => {
                let own = sized.and_then(|sized| sized.of(&field.name)).or(size);
                let rest = settings.default_list_size.powi(i32::try_from(lists - 1).unwrap_or(i32::MAX));
                times(own.unwrap_or(settings.default_list_size), rest)
            }
        };
        // A page: the lists are below the field that tells their size.
        let fields: &'a [Box<str>] = annotated.map_or(&[][..], |size: &ListSize| &size.sized);
        let is_page = is_composite && (definition.lists == 0 || !fields.is_empty());
        let below = size.filter(|_| is_page).map(|size| Sized { size, fields });
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
        self.step()?;
        let guard = self.guard;
        let type_ = definition.type_.and_then(|place| guard.schema.as_ref()?.types.get(place));
        let own = definition.weight.or_else(|| type_.and_then(|type_| type_.weight)).unwrap_or(0.0);
        let mut cost = 0.0;
        match given {
            Given::Text(Value::Null) | Given::Json(Json::Null) => {}
            Given::Text(Value::Variable(name)) => {
                if let Some(given) = self.variable(name) {
                    cost += self.input(definition, given)?;
                }
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
        let own = self.operation.defaults.iter().find(|(own, _)| &**own == name);
        own.map(|(_, value)| Given::Text(value))
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
            let given =
                field.arguments.iter().find(|(name, _)| name == first).map(|(_, value)| Given::Text(value));
            let default = || definition?.arguments.get(first)?.default.as_ref().map(Given::Text);
            let given = match given {
                // A variable that nobody gave is as good as none.
                Some(Given::Text(Value::Variable(name))) => self.variable(name).or_else(default)?,
                Some(given) => given,
                None => default()?,
            };
            self.number(given, rest)
        });
        sizes.reduce(f64::max)
    }

    /// A number at a path. What is not above nothing may mean that there is no bound, and tells nothing.
    fn number(&self, given: Given<'a>, path: &[Box<str>]) -> Option<f64> {
        let Some((first, rest)) = path.split_first() else {
            let number = match given {
                Given::Text(Value::Number(number)) => Some(*number),
                Given::Text(Value::Variable(name)) => match self.variable(name)? {
                    Given::Json(Json::Number(number)) => number.as_f64(),
                    Given::Text(Value::Number(number)) => Some(*number),
                    _ => None,
                },
                Given::Json(Json::Number(number)) => number.as_f64(),
                // Some services take digits for numbers.
                Given::Json(Json::String(text)) => text.trim().parse().ok(),
                _ => None,
            };
            return number.filter(|number| *number > 0.0);
        };
        match given {
            Given::Text(Value::Object(fields)) => {
                let (_, value) = fields.iter().find(|(name, _)| name == first)?;
                self.number(Given::Text(value), rest)
            }
            Given::Text(Value::Variable(name)) => match self.variable(name)? {
                Given::Text(Value::Variable(_)) => None,
                given => self.number(given, path),
            },
            Given::Json(Json::Object(fields)) => self.number(Given::Json(fields.get(&**first)?), rest),
            _ => None,
        }
    }
}

/// A field with what is below it.
fn sum(mut totals: Totals, children: &Totals, cost: f64, given: f64) -> Totals {
    totals.depth = children.depth.saturating_add(1);
    totals.fields = totals.fields.saturating_add(children.fields);
    totals.aliases = totals.aliases.saturating_add(children.aliases);
    totals.directives = totals.directives.saturating_add(children.directives);
    totals.rules |= children.rules;
    totals.cost = (cost + given).max(0.0);
    totals
}

/// A product that is never no number: nothing of however much is nothing.
fn times(count: f64, each: f64) -> f64 {
    if count <= 0.0 || each <= 0.0 { 0.0 } else { count * each }
}
