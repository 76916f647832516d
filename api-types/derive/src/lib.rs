//! `#[derive(Api)]`: turns one declaration of an API struct into the table that every codec and
//! schema reads.
//!
//! The derive writes no codec. It writes the struct's `StructType` (one static: each field's
//! JSON name, protobuf number, list type, patch strategy, default and description) and the two
//! accessors that hand out a field by its place. The codecs in `api-types/src/codec` are plain
//! functions over those, compiled once, whatever the number of kinds.
//!
//! Grammar, on the struct: `#[api(package = "io.k8s.api.core.v1", structure = atomic)]`.
//! On a field: `#[api(NUMBER, required, omitempty, always, inline, omitzero, name = "clusterIP",
//! list = atomic | set | map("k", ..), map = atomic | granular, structure = atomic | granular,
//! patch = merge | replace | retain_keys | merge_key("k") [+ ..], default = LITERAL)]`.

mod attribute;

use attribute::{FieldAttribute, StructAttribute};
use proc_macro::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, parse_macro_input, spanned::Spanned};

/// Derives `Struct`, `Value` and `Typed` of the crate `api-types`.
#[proc_macro_derive(Api, attributes(api))]
pub fn derive_api(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(input).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(input: DeriveInput) -> syn::Result<proc_macro2::TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new(input.span(), "Api is derived for structs; enums use open_enum!"));
    };
    let fields: Vec<&syn::Field> = match &data.fields {
        Fields::Named(named) => named.named.iter().collect(),
        Fields::Unit => Vec::new(),
        Fields::Unnamed(_) => return Err(Error::new(input.span(), "fields need names")),
    };
    let name = &input.ident;
    let own = StructAttribute::parse(&input.attrs)?;
    let (package, structure) = (&own.package, &own.structure);
    let doc = attribute::doc(&input.attrs);

    let mut rows = Vec::new();
    let mut gets = Vec::new();
    let mut gets_mut = Vec::new();
    for (place, field) in fields.iter().enumerate() {
        let ident = field.ident.as_ref().expect("named above");
        let ty = &field.ty;
        rows.push(FieldAttribute::parse(field)?.row(ident, ty, &attribute::doc(&field.attrs)));
        gets.push(quote!(#place => &self.#ident,));
        gets_mut.push(quote!(#place => &mut self.#ident,));
    }

    Ok(quote! {
        impl crate::value::Struct for #name {
            fn struct_type(&self) -> &'static crate::schema::StructType {
                <#name>::schema()
            }
            fn field(&self, place: usize) -> &dyn crate::value::Value {
                match place {
                    #(#gets)*
                    _ => unreachable!("places come from the struct's own table"),
                }
            }
            fn field_mut(&mut self, place: usize) -> &mut dyn crate::value::Value {
                match place {
                    #(#gets_mut)*
                    _ => unreachable!("places come from the struct's own table"),
                }
            }
        }
        impl #name {
            /// The table of this struct's fields.
            pub fn schema() -> &'static crate::schema::StructType {
                static TABLE: crate::schema::StructType = crate::schema::StructType {
                    package: #package,
                    name: stringify!(#name),
                    doc: #doc,
                    structure: #structure,
                    fields: &[#(#rows),*],
                    index: ::std::sync::OnceLock::new(),
                };
                &TABLE
            }
        }
        impl crate::value::Typed for #name {
            fn type_of() -> &'static crate::schema::Type {
                const { &crate::schema::Type::Struct(<#name>::schema) }
            }
        }
        impl crate::value::Value for #name {
            fn is_absent(&self) -> bool {
                false
            }
            fn reset(&mut self) {
                *self = Self::default();
            }
            fn write_json(&self, out: &mut crate::codec::json::Writer) {
                crate::codec::json::write_struct(self, out)
            }
            fn read_json(
                &mut self,
                input: &mut crate::codec::json::Reader<'_>,
            ) -> ::std::result::Result<(), crate::codec::json::Error> {
                crate::codec::json::read_struct(self, input)
            }
            fn write_protobuf(&self, number: u32, out: &mut crate::codec::protobuf::Writer) {
                crate::codec::protobuf::write_message(self, number, out)
            }
            fn read_protobuf(
                &mut self,
                wire: crate::codec::protobuf::Wire<'_>,
            ) -> ::std::result::Result<(), crate::codec::protobuf::Error> {
                crate::codec::protobuf::read_message(self, wire)
            }
            fn as_struct(&self) -> ::std::option::Option<&dyn crate::value::Struct> {
                Some(self)
            }
            fn as_struct_mut(&mut self) -> ::std::option::Option<&mut dyn crate::value::Struct> {
                Some(self)
            }
        }
    })
}
