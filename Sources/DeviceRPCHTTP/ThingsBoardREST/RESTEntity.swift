internal import DeviceRPC
internal import FoundationEssentials

/// The JSON of ThingsBoard's entities.
enum RESTEntity {
  /// There are no tenants: all have this one.
  static let tenant = RESTIDs.id(of: "tenant", "tenant")
  /// The customer of a device that belongs to none (`EntityId.NULL_UUID`).
  static let nobody = "13814000-1dd2-11b2-8080-808080808080"

  static func id(_ type: String, _ id: String) -> RPCValue { ["entityType": .string(type), "id": .string(id)] }

  /// A page of entities.
  static func page(_ all: [RPCValue], _ number: Int, _ size: Int) -> RPCValue {
    let start = min(all.count, number.multipliedReportingOverflow(by: size).overflow ? all.count : number * size)
    let end = min(all.count, start + size)
    return [
      "data": .array(Array(all[start..<end])), "totalPages": RPCValue((all.count + size - 1) / size), "totalElements": RPCValue(all.count),
      "hasNext": .bool(end < all.count),
    ]
  }

  static func device(_ device: KnownDevices.Device, _ id: String) -> RPCValue {
    [
      "id": Self.id("DEVICE", id), "createdTime": .integer(device.registered?.created.milliseconds ?? device.info?.firstSeen.milliseconds ?? 0),
      "additionalInfo": .null, "tenantId": Self.id("TENANT", tenant), "customerId": Self.id("CUSTOMER", nobody), "name": .string(device.name),
      "type": "default", "label": .null, "version": 1,
    ]
  }

  /// A persistent call; nil for one that is none.
  static func rpc(_ info: CallInfo, device id: String) -> RPCValue? {
    guard let kept = info.persistence else { return nil }
    let number = RESTNote.id(of: info)
    let expires: RPCValue = .integer(kept.expires.milliseconds)
    var params: [UInt8] = []
    if (try? JSONWriter.write(info.call.params, to: &params)) == nil { params = Array("null".utf8) }
    return [
      "id": Self.id("RPC", number), "createdTime": .integer(info.created.milliseconds), "tenantId": Self.id("TENANT", tenant),
      "deviceId": Self.id("DEVICE", id), "expirationTime": expires,
      "request": [
        "id": .string(number), "tenantId": Self.id("TENANT", tenant), "deviceId": Self.id("DEVICE", id), "oneway": .bool(info.call.isOneWay),
        "expirationTime": expires,
        "body": ["method": .string(info.call.method), "params": .string(String(decoding: params, as: UTF8.self))], "persisted": true,
        "retries": kept.note?["retries"] ?? .null,
      ],
      "response": response(info), "status": .string(kept.state.rawValue), "additionalInfo": kept.note?["additionalInfo"] ?? .null,
    ]
  }

  private static func response(_ info: CallInfo) -> RPCValue {
    switch info.outcome {
    case .result(let result) where result.status == .ok: result.detail ?? .null
    case .result(let result): ["error": .string("\(result.status)"), "status": RPCValue(result.status.rawValue), "detail": result.detail ?? .null]
    case .error(let error) where info.persistence?.state == .failed: ["error": .string("\(error)")]
    case .error, nil: .null
    }
  }
}

/// What ThingsBoard keeps with a persistent call, which its device does not get.
enum RESTNote {
  static func make(retries: Int?, additionalInfo: RPCValue?) -> RPCValue? {
    var object = RPCObject()
    if let retries { object["retries"] = RPCValue(retries) }
    if let additionalInfo { object["additionalInfo"] = additionalInfo }
    return object.isEmpty ? .none : .some(.object(object))
  }

  private static let mark = "thingsboard "

  /// The reference of a call that a client has given an id.
  static func reference(_ requestID: String, of sender: RESTSender) -> String { "\(mark)\(requestID) \(sender.id)" }

  /// The id of a call for ThingsBoard's clients: the one that the client has chosen, or else its own.
  static func id(of info: CallInfo) -> String {
    guard let reference = info.persistence?.reference, reference.hasPrefix(mark) else { return "\(info.id)" }
    return String(reference.dropFirst(mark.count).prefix { $0 != " " })
  }
}
