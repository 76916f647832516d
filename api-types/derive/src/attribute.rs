//! The `#[api(..)]` attribute: its grammar, and the table row it becomes.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Error, Expr, Lit, LitInt, LitStr, Meta, Token, Type, parenthesized, spanned::Spanned};

/// What a struct says of itself.
pub struct StructAttribute {
    /// OpenAPI package, `io.k8s.api.core.v1`.
    pub package: String,
    /// `Some(Structure)` as tokens.
    pub structure: TokenStream,
}

impl StructAttribute {
    pub fn parse(attributes: &[Attribute]) -> syn::Result<Self> {
        let mut own = Self { package: String::new(), structure: quote!(crate::schema::Structure::Unsaid) };
        for attribute in attributes.iter().filter(|a| a.path().is_ident("api")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("package") {
                    own.package = meta.value()?.parse::<LitStr>()?.value();
                } else if meta.path.is_ident("structure") {
                    own.structure = structure(&meta.value()?.parse::<Ident>()?)?;
                } else {
                    return Err(meta.error("a struct takes package and structure"));
                }
                Ok(())
            })?;
        }
        Ok(own)
    }
}

/// What a field says of itself.
pub struct FieldAttribute {
    number: u32,
    required: bool,
    always: bool,
    omitempty: bool,
    inline: bool,
    omitzero: bool,
    name: Option<String>,
    list: TokenStream,
    map: TokenStream,
    structure: TokenStream,
    merge: bool,
    replace: bool,
    retain_keys: bool,
    merge_key: Option<String>,
    default: Option<String>,
}

impl FieldAttribute {
    pub fn parse(field: &syn::Field) -> syn::Result<Self> {
        let attribute = field
            .attrs
            .iter()
            .find(|a| a.path().is_ident("api"))
            .ok_or_else(|| Error::new(field.span(), "the field needs #[api(NUMBER, ..)]"))?;
        attribute.parse_args()
    }

    /// The field's row in the struct's table.
    pub fn row(&self, ident: &Ident, ty: &Type, doc: &str) -> TokenStream {
        let name = self.name.clone().unwrap_or_else(|| camel_case(&ident.to_string()));
        let Self {
            number,
            required,
            always,
            omitempty,
            inline,
            omitzero,
            list,
            map,
            structure,
            merge,
            replace,
            retain_keys,
            ..
        } = self;
        let merge_key = optional(&self.merge_key);
        let default = optional(&self.default);
        quote! {
            crate::schema::Field {
                name: #name,
                number: #number,
                ty: <#ty as crate::value::Typed>::type_of,
                doc: #doc,
                required: #required,
                always: (#always || #required) && !#omitempty,
                inline: #inline,
                omitzero: #omitzero,
                optional: <#ty as crate::value::Typed>::OPTIONAL,
                list: #list,
                map: #map,
                structure: #structure,
                patch: crate::schema::Patch {
                    merge: #merge,
                    replace: #replace,
                    retain_keys: #retain_keys,
                    key: #merge_key,
                },
                default: #default,
            }
        }
    }

    fn patch(&mut self, input: ParseStream) -> syn::Result<()> {
        loop {
            let word: Ident = input.parse()?;
            match word.to_string().as_str() {
                "merge" => self.merge = true,
                "replace" => self.replace = true,
                "retain_keys" => self.retain_keys = true,
                "merge_key" => {
                    let inner;
                    parenthesized!(inner in input);
                    self.merge_key = Some(inner.parse::<LitStr>()?.value());
                    self.merge = true;
                }
                _ => return Err(Error::new(word.span(), "merge, replace, retain_keys or merge_key(\"k\")")),
            }
            if !input.peek(Token![+]) {
                return Ok(());
            }
            input.parse::<Token![+]>()?;
        }
    }

    fn list_type(input: ParseStream) -> syn::Result<TokenStream> {
        let word: Ident = input.parse()?;
        Ok(match word.to_string().as_str() {
            "atomic" => quote!(crate::schema::ListType::Atomic),
            "set" => quote!(crate::schema::ListType::Set),
            "map" => {
                let inner;
                parenthesized!(inner in input);
                let keys = inner.parse_terminated(|i: ParseStream| i.parse::<LitStr>(), Token![,])?;
                let keys = keys.iter();
                quote!(crate::schema::ListType::Map(&[#(#keys),*]))
            }
            _ => return Err(Error::new(word.span(), "atomic, set or map(\"key\", ..)")),
        })
    }
}

impl Parse for FieldAttribute {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let mut own = Self {
            number: input.parse::<LitInt>()?.base10_parse()?,
            required: false,
            always: false,
            omitempty: false,
            inline: false,
            omitzero: false,
            name: None,
            list: quote!(crate::schema::ListType::Unsaid),
            map: quote!(crate::schema::Structure::Unsaid),
            structure: quote!(crate::schema::Structure::Unsaid),
            merge: false,
            replace: false,
            retain_keys: false,
            merge_key: None,
            default: None,
        };
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            if input.is_empty() {
                break;
            }
            let word: Ident = input.parse()?;
            let text = word.to_string();
            if matches!(text.as_str(), "name" | "list" | "map" | "structure" | "patch" | "default") {
                input.parse::<Token![=]>()?;
            }
            match text.as_str() {
                "required" => own.required = true,
                "always" => own.always = true,
                "omitempty" => own.omitempty = true,
                "inline" => own.inline = true,
                "omitzero" => own.omitzero = true,
                "name" => own.name = Some(input.parse::<LitStr>()?.value()),
                "list" => own.list = Self::list_type(input)?,
                "map" => own.map = structure(&input.parse::<Ident>()?)?,
                "structure" => own.structure = structure(&input.parse::<Ident>()?)?,
                "patch" => own.patch(input)?,
                "default" => own.default = Some(json_literal(&input.parse::<Lit>()?)?),
                _ => return Err(Error::new(word.span(), "not a word of #[api(..)]")),
            }
        }
        Ok(own)
    }
}

fn structure(word: &Ident) -> syn::Result<TokenStream> {
    match word.to_string().as_str() {
        "atomic" => Ok(quote!(crate::schema::Structure::Atomic)),
        "granular" => Ok(quote!(crate::schema::Structure::Granular)),
        _ => Err(Error::new(word.span(), "atomic or granular")),
    }
}

fn optional(text: &Option<String>) -> TokenStream {
    match text {
        Some(text) => quote!(Some(#text)),
        None => quote!(None),
    }
}

/// A default as the JSON text it stands for.
fn json_literal(literal: &Lit) -> syn::Result<String> {
    Ok(match literal {
        Lit::Str(s) => format!("{:?}", s.value()),
        Lit::Int(i) => i.base10_digits().to_owned(),
        Lit::Bool(b) => b.value.to_string(),
        other => return Err(Error::new(other.span(), "a string, an integer or a bool")),
    })
}

/// The doc comment as one line.
pub fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter(|a| a.path().is_ident("doc")).filter_map(|a| match &a.meta {
        Meta::NameValue(pair) => match &pair.value {
            Expr::Lit(syn::ExprLit { lit: Lit::Str(s), .. }) => Some(s.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// `host_ip` becomes `hostIp`; a trailing underscore, there to dodge a keyword, goes.
fn camel_case(ident: &str) -> String {
    let ident = ident.strip_prefix("r#").unwrap_or(ident).trim_end_matches('_');
    let mut out = String::new();
    for (i, part) in ident.split('_').enumerate() {
        let mut letters = part.chars();
        match letters.next() {
            Some(first) if i > 0 => out.extend(first.to_uppercase().chain(letters)),
            Some(first) => out.extend(::std::iter::once(first).chain(letters)),
            None => {}
        }
    }
    out
}
