//! Finds the binding of a verb and a path.

use http::Method;
use percent_encoding::percent_decode_str;

use super::{
    annotation::{Binding, Error, Segment},
    refusal::Refusal,
};

/// All bindings, by their paths' shape.
#[derive(Debug)]
pub(super) struct Table {
    /// Sorted so that of several routes that fit a path the first has literals where they have
    /// variables.
    routes: Vec<Route>,
}

/// Bindings that differ by their HTTP method alone, or by the names of their variables.
#[derive(Debug)]
struct Route {
    /// A literal, or `None` for a variable.
    shape: Vec<Option<String>>,
    verb: Option<String>,
    bindings: Vec<Binding>,
}

/// A binding that fits a request, with the text of its variables, in their order.
#[derive(Debug)]
pub(super) struct Matched<'a> {
    pub(super) binding: &'a Binding,
    pub(super) variables: Vec<String>,
}

impl Table {
    pub(super) fn new(bindings: Vec<Binding>) -> Result<Self, Error> {
        let mut routes: Vec<Route> = Vec::new();
        for binding in bindings {
            let shape: Vec<_> = binding
                .pattern
                .segments
                .iter()
                .map(Segment::literal)
                .collect();
            let verb = binding.pattern.verb.clone();
            match routes
                .iter_mut()
                .find(|route| route.shape == shape && route.verb == verb)
            {
                Some(route) => route.add(binding)?,
                None => routes.push(Route {
                    shape,
                    verb,
                    bindings: vec![binding],
                }),
            }
        }
        routes.sort_by_cached_key(|route| {
            let variables: Vec<bool> = route.shape.iter().map(Option::is_none).collect();
            (variables, route.shape.clone(), route.verb.clone())
        });
        Ok(Self { routes })
    }

    /// All bindings, in an order that depends on the annotations alone.
    pub(super) fn bindings(&self) -> impl Iterator<Item = &Binding> {
        self.routes.iter().flat_map(|route| &route.bindings)
    }

    /// The binding for a request; `path` is as it came, percent-encoded.
    pub(super) fn find(&self, method: &Method, path: &str) -> Result<Matched<'_>, Refusal> {
        let path = path.strip_prefix('/').ok_or_else(Refusal::path_not_found)?;
        // Verbs are split off before decoding: an encoded colon belongs to the value.
        if let Some((path, verb)) = path
            .rsplit_once(':')
            .filter(|(_, verb)| !verb.contains('/'))
        {
            let segments = decode(path)?;
            if let Some(route) = self.route(&segments, Some(verb)) {
                return route.select(method, &segments);
            }
        }
        let segments = decode(path)?;
        let route = self
            .route(&segments, None)
            .ok_or_else(Refusal::path_not_found)?;
        route.select(method, &segments)
    }

    fn route(&self, segments: &[String], verb: Option<&str>) -> Option<&Route> {
        self.routes
            .iter()
            .find(|route| route.verb.as_deref() == verb && route.fits(segments))
    }
}

impl Route {
    fn add(&mut self, binding: Binding) -> Result<(), Error> {
        if self
            .bindings
            .iter()
            .any(|other| other.http_method == binding.http_method)
        {
            return Err(Error::Taken(binding.pattern.text));
        }
        self.bindings.push(binding);
        Ok(())
    }

    fn fits(&self, segments: &[String]) -> bool {
        self.shape.len() == segments.len()
            && self
                .shape
                .iter()
                .zip(segments)
                .all(|(shape, segment)| match shape {
                    Some(literal) => literal == segment,
                    None => !segment.is_empty(),
                })
    }

    fn select(&self, method: &Method, segments: &[String]) -> Result<Matched<'_>, Refusal> {
        let wanted = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let Some(binding) = self.bindings.iter().find(|b| b.http_method == wanted) else {
            return Err(Refusal::method_not_allowed(&self.allowed()));
        };
        let variables = self
            .shape
            .iter()
            .zip(segments)
            .filter(|(shape, _)| shape.is_none());
        let variables = variables.map(|(_, segment)| segment.clone()).collect();
        Ok(Matched { binding, variables })
    }

    fn allowed(&self) -> String {
        let mut allowed: Vec<_> = self
            .bindings
            .iter()
            .map(|b| b.http_method.as_str())
            .collect();
        if allowed.contains(&"GET") {
            allowed.push("HEAD");
        }
        allowed.sort_unstable();
        allowed.join(", ")
    }
}

impl Segment {
    fn literal(&self) -> Option<String> {
        match self {
            Self::Literal(text) => Some(text.clone()),
            Self::Variable(_) => None,
        }
    }
}

fn decode(path: &str) -> Result<Vec<String>, Refusal> {
    path.split('/')
        .map(|segment| percent_decode_str(segment).decode_utf8())
        .map(|segment| segment.map(String::from))
        .collect::<Result<_, _>>()
        .map_err(|_| Refusal::malformed("The path isn't UTF-8."))
}
