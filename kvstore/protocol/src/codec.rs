//! How messages are written and read: tonic's own way, with small buffers.
//!
//! tonic sets up 8 KB for each direction of each call. A watch keeps both for as long as it lasts, and most
//! messages on one take some hundred bytes: who watches a hundred prefixes would hold 1.6 MB of nothing, and so would
//! the store. What is larger makes them grow.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// What a buffer begins with, in bytes, and with how much in it messages are sent on (as tonic's default).
const BEGIN: usize = 512;
const SENT_FROM: usize = 32 * 1024;

/// The codec of all services.
#[derive(Debug)]
pub struct SmallBuffers<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallBuffers<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallBuffers<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BEGIN, SENT_FROM))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BEGIN, SENT_FROM))
    }
}
