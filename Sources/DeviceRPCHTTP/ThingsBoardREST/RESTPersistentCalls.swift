internal import DeviceRPC
internal import FoundationEssentials
internal import HTTPTypes
internal import Hummingbird

/// Persistent calls as ThingsBoard's clients look at them.
struct RESTPersistentCalls: Sendable {
  /// Calls of a device that are looked at for a list, the newest.
  private static let most = 1_000

  let server: DeviceRPCServer
  let calls: RESTCalls

  /// `GET /api/rpc/persistent/{rpcId}`.
  func get(_ id: String, by sender: RESTSender) async throws(RESTError) -> Response {
    let info = try await find(id, by: sender)
    guard let entity = RESTEntity.rpc(info, device: calls.ids.id(of: info.device)) else { throw Self.unknown(id) }
    return .json(entity)
  }

  /// `DELETE /api/rpc/persistent/{rpcId}`. One that is open is taken back.
  func delete(_ id: String, by sender: RESTSender) async throws(RESTError) -> Response {
    guard sender.authority == .tenantAdmin else { throw .noPermission }
    let info = try await find(id, by: sender)
    guard sender.permissions.mayCall(info.call.method, on: info.device) else { throw .noPermission }
    guard await server.discard(info.id) else { throw RESTError(.serviceUnavailable, .general, "The call could not be deleted; try again later") }
    return Response(status: .ok)
  }

  /// `GET /api/rpc/persistent/device/{deviceId}`.
  func list(_ id: String, _ query: [String: String], by sender: RESTSender) async throws(RESTError) -> Response {
    let device = try await calls.device(of: id)
    guard sender.permissions.mayRead(device) else { throw .noPermission }
    let (page, size) = try RESTQuery.page(query)
    var states = Set(PersistentCall.State.allCases).subtracting([.deleted])
    if let text = query["rpcStatus"] {
      guard let state = PersistentCall.State(rawValue: text), state != .deleted else {
        throw .badRequest("rpcStatus is one of \(states.map(\.rawValue).sorted().joined(separator: ", "))")
      }
      states = [state]
    }
    var found = CallQuery(device: device, limit: Self.most)
    found.persistentStates = states
    var infos = await server.calls(found)
    try sort(&infos, query)
    let deviceID = calls.ids.id(of: device)
    return .json(RESTEntity.page(infos.compactMap { RESTEntity.rpc($0, device: deviceID) }, page, size))
  }

  private func sort(_ infos: inout [CallInfo], _ query: [String: String]) throws(RESTError) {
    // In the order of their creation.
    infos.reverse()
    switch query["sortProperty"] {
    case nil, "createdTime": break
    case "expirationTime": infos.sort { ($0.persistence?.expires ?? $0.created) < ($1.persistence?.expires ?? $1.created) }
    case "status": infos.sort { ($0.persistence?.state.rawValue ?? "") < ($1.persistence?.state.rawValue ?? "") }
    default: throw .badRequest("sortProperty is one of createdTime, expirationTime, status")
    }
    switch query["sortOrder"]?.uppercased() {
    case nil, "ASC": break
    case "DESC": infos.reverse()
    default: throw .badRequest("sortOrder is ASC or DESC")
    }
  }

  /// The call of an id, which is its own or the one that its caller has chosen.
  private func find(_ id: String, by sender: RESTSender) async throws(RESTError) -> CallInfo {
    guard let canonical = RESTIDs.canonical(id) else { throw .badRequest("Invalid UUID string: \(id.prefix(64))") }
    var info: CallInfo?
    if let callID = CallID(canonical) { info = await server.info(of: callID, waiting: .zero) }
    if info?.persistence == nil {
      var query = CallQuery(limit: 1)
      query.persistentStates = Set(PersistentCall.State.allCases)
      query.reference = RESTNote.reference(canonical, of: sender)
      info = await server.calls(query).first
    }
    guard let info, let kept = info.persistence, kept.state != .deleted, sender.permissions.mayRead(info.device) else { throw Self.unknown(canonical) }
    return info
  }

  private static func unknown(_ id: String) -> RESTError { RESTError(.notFound, .notFound, "Rpc with id [\(id)] is not found") }
}

/// Queries as ThingsBoard's pages have them.
enum RESTQuery {
  static func page(_ query: [String: String]) throws(RESTError) -> (number: Int, size: Int) {
    guard let size = query["pageSize"].flatMap({ Int($0) }), (1...1_000).contains(size) else { throw .badRequest("pageSize is a number from 1 to 1000") }
    guard let number = query["page"].flatMap({ Int($0) }), (0...1_000_000).contains(number) else { throw .badRequest("page is a number from 0") }
    return (number, size)
  }
}
