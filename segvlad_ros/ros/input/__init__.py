"""What comes in: subscriptions, decoding, synchronisation, frames; and what plays a bag onto topics."""
