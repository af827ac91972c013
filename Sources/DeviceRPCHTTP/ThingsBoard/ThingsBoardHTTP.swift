public import DeviceRPC

/// ThingsBoard's HTTP APIs, which a `DeviceRPCHTTPServer` can have besides its own.
///
/// That of devices: a device with an access token asks for its calls at `/api/v1/{token}/rpc`, POSTs results to
/// `/api/v1/{token}/rpc/{id}`, and calls the server. It may change between CoAP and HTTP; its calls follow it.
///
/// That of back ends: a user logs in at `/api/auth/login` and calls devices at `/api/rpc/twoway/{deviceId}`. Instead of a session it
/// also takes the API keys of the server.
///
/// Their paths are not in the OpenAPI document.
public struct ThingsBoardHTTP: Sendable {
  let server: DeviceRPCServer
  let credentials: (any DeviceCredentials)?
  let users: (any UserProvider)?

  /// - Parameters:
  ///   - server: the server that the devices connect to.
  ///   - credentials: the access tokens, those of the server's `DeviceSecurity`. Nil for a server without credentials, which takes a
  ///     token as the name of the device.
  ///   - users: who may log in; nil for nobody.
  public init(_ server: DeviceRPCServer, credentials: (any DeviceCredentials)?, users: (any UserProvider)? = nil) {
    self.server = server
    self.credentials = credentials
    self.users = users
  }
}
