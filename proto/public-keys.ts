/** Where the user service, and the gateway too, publish the public keys of access tokens: a `GET` for a JSON Web Key Set (RFC 7517). */
export const publicKeysPath = "/.well-known/jwks.json";
