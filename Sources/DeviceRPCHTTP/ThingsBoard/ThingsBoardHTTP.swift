public import DeviceRPC

/// ThingsBoard's HTTP API for devices, which a `DeviceRPCHTTPServer` can have besides its own: a device with an access token asks for
/// its calls at `/api/v1/{token}/rpc`, POSTs results to `/api/v1/{token}/rpc/{id}`, and calls the server.
///
/// Its paths need no API key and are not in the OpenAPI document. A device may change between CoAP and HTTP; its calls follow it.
public struct ThingsBoardHTTP: Sendable {
  let server: DeviceRPCServer
  let credentials: (any DeviceCredentials)?

  /// - Parameters:
  ///   - server: the server that the devices connect to.
  ///   - credentials: the access tokens, those of the server's `DeviceSecurity`. Nil for a server without credentials, which takes a
  ///     token as the name of the device.
  public init(_ server: DeviceRPCServer, credentials: (any DeviceCredentials)?) {
    self.server = server
    self.credentials = credentials
  }
}
