//! A schema in the schema definition language, as far as it tells what fields cost, how long lists are, and of which
//! type everything is: `@cost` and `@listSize` as IBM's specification of cost directives has them.

use std::collections::HashMap;

use apollo_parser::{
    Parser,
    cst::{self, CstNode},
};

use crate::document::{Kind, Value, read_value};

/// Maps by names of a schema, which are the operator's.
pub(crate) type ByName<T> = HashMap<Box<str>, T, foldhash::fast::RandomState>;

/// A schema that can be asked.
#[derive(Debug, Default, Clone)]
pub struct Schema {
    pub(crate) types: Vec<Type>,
    pub(crate) names: ByName<usize>,
    roots: [Option<usize>; 3],
    /// Whether any argument or field of an input has a weight.
    pub(crate) weighs_inputs: bool,
}

/// What a type is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Leaf,
    Object,
    /// An interface or a union.
    Abstract,
    Input,
}

#[derive(Debug, Clone)]
pub(crate) struct Type {
    pub(crate) name: Box<str>,
    pub(crate) shape: Shape,
    pub(crate) weight: Option<f64>,
    pub(crate) fields: ByName<FieldDef>,
    pub(crate) inputs: ByName<InputDef>,
    /// What it may be, when it is abstract.
    pub(crate) members: Vec<usize>,
    /// Rules that are about all of its fields.
    pub(crate) rules: u64,
    interfaces: Vec<Box<str>>,
    union: Vec<Box<str>>,
}

#[derive(Debug, Clone)]
pub(crate) struct FieldDef {
    of: Box<str>,
    /// Its type; none for scalars that every schema has.
    pub(crate) type_: Option<usize>,
    /// How many lists it is of lists.
    pub(crate) lists: u32,
    pub(crate) weight: Option<f64>,
    pub(crate) size: Option<ListSize>,
    pub(crate) arguments: ByName<InputDef>,
    /// Rules that are about it.
    pub(crate) rules: u64,
}

/// How long a list may be.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ListSize {
    pub(crate) assumed: Option<f64>,
    /// What an operator says that it is at least.
    pub(crate) least: Option<f64>,
    /// Arguments that tell, by their paths.
    pub(crate) slicing: Vec<Vec<Box<str>>>,
    /// Fields below that are these lists, where it is not the field itself.
    pub(crate) sized: Vec<Box<str>>,
}

/// An argument, or a field of an input.
#[derive(Debug, Clone)]
pub(crate) struct InputDef {
    of: Box<str>,
    pub(crate) type_: Option<usize>,
    pub(crate) weight: Option<f64>,
    pub(crate) default: Option<Value>,
}

const BUILT_IN: [&str; 5] = ["Int", "Float", "String", "Boolean", "ID"];

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        let tree = Parser::new(text).parse();
        if let Some(error) = tree.errors().next() {
            let line = text.get(..error.index()).unwrap_or(text).matches('\n').count() + 1;
            return Err(format!("line {line}: {}", error.message()));
        }
        let mut schema = Self::default();
        let mut roots: [Option<Box<str>>; 3] = Default::default();
        for definition in tree.document().definitions() {
            schema.define(definition, &mut roots)?;
        }
        schema.resolve(roots)?;
        Ok(schema)
    }

    /// The type of an operation.
    pub(crate) fn root(&self, kind: Kind) -> Option<usize> {
        self.roots[kind as usize]
    }

    fn define(
        &mut self,
        definition: cst::Definition,
        roots: &mut [Option<Box<str>>; 3],
    ) -> Result<(), String> {
        use cst::Definition as D;
        match definition {
            D::OperationDefinition(_) | D::FragmentDefinition(_) => {
                return Err("it has an operation or a fragment; expected definitions of types".into());
            }
            D::DirectiveDefinition(_) => {}
            D::SchemaDefinition(one) => own_roots(one.root_operation_type_definitions(), roots),
            D::SchemaExtension(one) => own_roots(one.root_operation_type_definitions(), roots),
            D::ScalarTypeDefinition(one) => self.open(one.name(), Shape::Leaf, one.directives(), false)?,
            D::ScalarTypeExtension(one) => self.open(one.name(), Shape::Leaf, one.directives(), true)?,
            D::EnumTypeDefinition(one) => self.open(one.name(), Shape::Leaf, one.directives(), false)?,
            D::EnumTypeExtension(one) => self.open(one.name(), Shape::Leaf, one.directives(), true)?,
            D::ObjectTypeDefinition(one) => {
                self.open(one.name(), Shape::Object, one.directives(), false)?;
                self.fill(one.name(), one.implements_interfaces(), one.fields_definition());
            }
            D::ObjectTypeExtension(one) => {
                self.open(one.name(), Shape::Object, one.directives(), true)?;
                self.fill(one.name(), one.implements_interfaces(), one.fields_definition());
            }
            D::InterfaceTypeDefinition(one) => {
                self.open(one.name(), Shape::Abstract, one.directives(), false)?;
                self.fill(one.name(), one.implements_interfaces(), one.fields_definition());
            }
            D::InterfaceTypeExtension(one) => {
                self.open(one.name(), Shape::Abstract, one.directives(), true)?;
                self.fill(one.name(), one.implements_interfaces(), one.fields_definition());
            }
            D::UnionTypeDefinition(one) => {
                self.open(one.name(), Shape::Abstract, one.directives(), false)?;
                self.unite(one.name(), one.union_member_types());
            }
            D::UnionTypeExtension(one) => {
                self.open(one.name(), Shape::Abstract, one.directives(), true)?;
                self.unite(one.name(), one.union_member_types());
            }
            D::InputObjectTypeDefinition(one) => {
                self.open(one.name(), Shape::Input, one.directives(), false)?;
                self.take_in(one.name(), one.input_fields_definition());
            }
            D::InputObjectTypeExtension(one) => {
                self.open(one.name(), Shape::Input, one.directives(), true)?;
                self.take_in(one.name(), one.input_fields_definition());
            }
        }
        Ok(())
    }

    /// Makes room for a type. What extends one may stand before it.
    fn open(
        &mut self,
        name: Option<cst::Name>,
        shape: Shape,
        directives: Option<cst::Directives>,
        extends: bool,
    ) -> Result<(), String> {
        let name = text(name);
        let weight = weight(directives.as_ref(), &name)?;
        let place = match self.names.get(&name) {
            Some(known) => *known,
            None => {
                self.types.push(Type {
                    name: name.clone(),
                    shape,
                    weight: None,
                    fields: ByName::default(),
                    inputs: ByName::default(),
                    members: Vec::new(),
                    rules: 0,
                    interfaces: Vec::new(),
                    union: Vec::new(),
                });
                self.names.insert(name.clone(), self.types.len() - 1);
                self.types.len() - 1
            }
        };
        let type_ = &mut self.types[place];
        if type_.shape != shape {
            let verb = if extends { "extended" } else { "defined" };
            return Err(format!("`{name}` is {verb} as another kind of type than before"));
        }
        type_.weight = weight.or(type_.weight);
        Ok(())
    }

    fn named(&mut self, name: Option<cst::Name>) -> Option<&mut Type> {
        let place = *self.names.get(&text(name))?;
        self.types.get_mut(place)
    }

    fn fill(
        &mut self,
        name: Option<cst::Name>,
        interfaces: Option<cst::ImplementsInterfaces>,
        fields: Option<cst::FieldsDefinition>,
    ) {
        let Some(type_) = self.named(name) else { return };
        let named = interfaces.into_iter().flat_map(|all| all.named_types());
        type_.interfaces.extend(named.map(|one| text(one.name())));
        for field in fields.into_iter().flat_map(|all| all.field_definitions()) {
            let (of, lists) = type_name(field.ty());
            let given =
                field.arguments_definition().into_iter().flat_map(|all| all.input_value_definitions());
            let definition = FieldDef {
                of,
                type_: None,
                lists,
                // What is wrong with it is told when it is resolved.
                weight: weight(field.directives().as_ref(), "").unwrap_or(Some(f64::NAN)),
                size: list_size(field.directives().as_ref()),
                arguments: given.map(input).collect(),
                rules: 0,
            };
            type_.fields.insert(text(field.name()), definition);
        }
    }

    fn unite(&mut self, name: Option<cst::Name>, members: Option<cst::UnionMemberTypes>) {
        let Some(type_) = self.named(name) else { return };
        let named = members.into_iter().flat_map(|all| all.named_types());
        type_.union.extend(named.map(|one| text(one.name())));
    }

    fn take_in(&mut self, name: Option<cst::Name>, fields: Option<cst::InputFieldsDefinition>) {
        let Some(type_) = self.named(name) else { return };
        let each = fields.into_iter().flat_map(|all| all.input_value_definitions());
        type_.inputs.extend(each.map(input));
    }

    /// Finds every type that is named.
    fn resolve(&mut self, roots: [Option<Box<str>>; 3]) -> Result<(), String> {
        let names = self.names.clone();
        let find = |of: &str, what: &dyn Fn() -> String| match names.get(of) {
            Some(place) => Ok(Some(*place)),
            None if BUILT_IN.contains(&of) => Ok(None),
            None => Err(format!("{} is of type `{of}`, which is not defined", what())),
        };
        let mut members: Vec<(usize, usize)> = Vec::new();
        let mut weighs = false;
        for (place, type_) in self.types.iter_mut().enumerate() {
            let own = type_.name.clone();
            for (name, field) in &mut type_.fields {
                field.type_ = find(&field.of, &|| format!("`{own}.{name}`"))?;
                let sizes = field.size.iter().filter_map(|size| size.assumed);
                if field.weight.into_iter().chain(sizes).any(|number| !number.is_finite()) {
                    return Err(format!("`{own}.{name}` has a weight or a size that is no number"));
                }
                for (argument, input) in &mut field.arguments {
                    input.type_ = find(&input.of, &|| format!("`{own}.{name}({argument}:)`"))?;
                    weighs |= input.weight.is_some();
                    check_weight(input, &|| format!("`{own}.{name}({argument}:)`"))?;
                }
            }
            for (name, input) in &mut type_.inputs {
                input.type_ = find(&input.of, &|| format!("`{own}.{name}`"))?;
                weighs |= input.weight.is_some();
                check_weight(input, &|| format!("`{own}.{name}`"))?;
            }
            weighs |= type_.shape == Shape::Input && type_.weight.is_some();
            for interface in &type_.interfaces {
                let of = find(interface, &|| format!("an interface of `{own}`"))?;
                members.extend(of.map(|of| (of, place)));
            }
            for member in &type_.union {
                let of = find(member, &|| format!("a member of `{own}`"))?;
                members.extend(of.map(|of| (place, of)));
            }
        }
        for (of, member) in members {
            if let Some(type_) = self.types.get_mut(of).filter(|type_| !type_.members.contains(&member)) {
                type_.members.push(member);
            }
        }
        self.weighs_inputs = weighs;
        for (place, (root, usual)) in roots.iter().zip(["Query", "Mutation", "Subscription"]).enumerate() {
            self.roots[place] = match root {
                Some(name) => find(name, &|| "an operation".into())?,
                // Where nobody says which types are at the root, these names do.
                None if roots.iter().all(Option::is_none) => self.names.get(usual).copied(),
                None => None,
            };
        }
        match self.roots[Kind::Query as usize] {
            Some(_) => Ok(()),
            None => Err("it has no type for queries; expected `type Query` or `schema { query: … }`".into()),
        }
    }
}

fn check_weight(input: &InputDef, what: &dyn Fn() -> String) -> Result<(), String> {
    match input.weight.is_some_and(|weight| !weight.is_finite()) {
        true => Err(format!("{} has a weight that is no number", what())),
        false => Ok(()),
    }
}

fn own_roots(
    definitions: impl Iterator<Item = cst::RootOperationTypeDefinition>,
    roots: &mut [Option<Box<str>>; 3],
) {
    for one in definitions {
        let place = match one.operation_type() {
            Some(kind) if kind.mutation_token().is_some() => Kind::Mutation,
            Some(kind) if kind.subscription_token().is_some() => Kind::Subscription,
            _ => Kind::Query,
        };
        roots[place as usize] = Some(text(one.named_type().and_then(|named| named.name())));
    }
}

fn text(name: Option<cst::Name>) -> Box<str> {
    name.map(|name| name.text().as_str().into()).unwrap_or_default()
}

/// The name of a type, and how many lists stand around it.
fn type_name(of: Option<cst::Type>) -> (Box<str>, u32) {
    let mut lists = 0;
    let mut of = of;
    loop {
        match of {
            Some(cst::Type::NamedType(named)) => return (text(named.name()), lists),
            Some(cst::Type::ListType(list)) => {
                lists += 1;
                of = list.ty();
            }
            Some(cst::Type::NonNullType(inner)) => match (inner.named_type(), inner.list_type()) {
                (Some(named), _) => return (text(named.name()), lists),
                (None, Some(list)) => {
                    lists += 1;
                    of = list.ty();
                }
                (None, None) => return (Box::default(), lists),
            },
            None => return (Box::default(), lists),
        }
    }
}

fn input(definition: cst::InputValueDefinition) -> (Box<str>, InputDef) {
    let (of, _) = type_name(definition.ty());
    let default = definition.default_value().and_then(|default| default.value());
    let made = InputDef {
        of,
        type_: None,
        weight: weight(definition.directives().as_ref(), "").unwrap_or(Some(f64::NAN)),
        default: default.map(|value| read_value(&value).constant()),
    };
    (text(definition.name()), made)
}

fn directive(all: Option<&cst::Directives>, name: &str) -> Option<cst::Directive> {
    let is_meant = |one: &cst::Directive| one.name().is_some_and(|found| found.text().as_str() == name);
    all?.directives().find(is_meant)
}

fn argument(directive: &cst::Directive, name: &str) -> Option<cst::Value> {
    let all = directive.arguments()?;
    all.arguments().find(|one| one.name().is_some_and(|found| found.text().as_str() == name))?.value()
}

/// `@cost(weight: "2.5")`; a number will do, too.
fn weight(directives: Option<&cst::Directives>, of: &str) -> Result<Option<f64>, String> {
    let Some(cost) = directive(directives, "cost") else { return Ok(None) };
    let given = argument(&cost, "weight").map(|value| match value {
        cst::Value::StringValue(text) => unquoted(&text),
        other => other.source_string().trim().to_owned(),
    });
    match given
        .as_deref()
        .and_then(|text| text.trim().parse::<f64>().ok())
        .filter(|weight| weight.is_finite())
    {
        Some(weight) => Ok(Some(weight)),
        None => Err(format!("`@cost` of `{of}` has no `weight` that is a number")),
    }
}

/// `@listSize(assumedSize:, slicingArguments:, sizedFields:)`.
fn list_size(directives: Option<&cst::Directives>) -> Option<ListSize> {
    let found = directive(directives, "listSize")?;
    let number = |value: cst::Value| match read_value(&value) {
        Value::Number(number) => number,
        _ => f64::NAN,
    };
    let names = |name: &str| match argument(&found, name) {
        Some(cst::Value::ListValue(list)) => list.values().filter_map(|value| quoted(&value)).collect(),
        Some(one) => quoted(&one).into_iter().collect::<Vec<_>>(),
        None => Vec::new(),
    };
    Some(ListSize {
        least: None,
        assumed: argument(&found, "assumedSize").filter(|value| !is_null(value)).map(number),
        slicing: names("slicingArguments").iter().map(|path| steps(path)).collect(),
        sized: names("sizedFields").into_iter().map(String::into_boxed_str).collect(),
    })
}

fn is_null(value: &cst::Value) -> bool {
    matches!(value, cst::Value::NullValue(_))
}

/// The steps of a path such as `input.first`.
pub(crate) fn steps(path: &str) -> Vec<Box<str>> {
    path.split('.').map(Into::into).collect()
}

fn quoted(value: &cst::Value) -> Option<String> {
    match value {
        cst::Value::StringValue(text) => Some(unquoted(text)),
        _ => None,
    }
}

/// The text between quotes. Names and numbers have nothing to be escaped.
fn unquoted(text: &cst::StringValue) -> String {
    text.source_string().trim().trim_matches('"').to_owned()
}
