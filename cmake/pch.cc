// Carrier of the precompiled header; holds no code.
