internal import CoAP
internal import Synchronization

/// One connection of a device: the observation from its registration to its end, and the calls that arrive on it.
final class DeviceSession: Sendable {
  private struct State {
    var token: CoAPToken?
    /// How often the device has asked to be registered.
    var registrations = 0
    var wasConnected = false
    var heard = ContinuousClock.now
    /// When a response or notification last showed that the server knows the observation.
    var observed = ContinuousClock.now
  }

  /// A notification, and the number of the registration that it is for.
  private typealias Notification = (registration: Int, message: CoAPResponse)

  private let device: SimulatedDevice
  private let dialect: any DeviceDialect
  private let state = Mutex(State())
  // As many calls as a server may have under way for one device; real firmware would lose them much earlier.
  private let notifications = AsyncStream.makeStream(of: Notification.self, bufferingPolicy: .bufferingOldest(1_024))
  private let ends = AsyncStream.makeStream(of: String.self, bufferingPolicy: .bufferingOldest(1))

  init(_ device: SimulatedDevice) {
    self.device = device
    dialect = device.messages
  }

  var wasConnected: Bool { state.withLock(\.wasConnected) }

  /// Runs until the connection is lost, and returns the reason; nil when the task was cancelled and the device has deregistered.
  /// The socket is closed when it returns.
  func run(on client: CoAPClient, to address: CoAPAddress) async -> String? {
    let peer: CoAPPeer
    do throws(CoAPFailure) {
      peer = try await client.connect(
        to: address, over: device.transport.scheme, with: device.credentials?.client)
    } catch {
      return "the system has no socket left"
    }
    return await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.listen(peer) }
      let reason = await ends.stream.first { _ in true }
      if reason == nil { await takeLeave(peer) }
      // This also ends the requests under way, which do not watch for cancellation.
      await peer.close()
      group.cancelAll()
      return reason
    }
  }

  private func end(_ reason: String) { ends.continuation.yield(reason) }

  // MARK: Observation

  private func listen(_ peer: CoAPPeer) async {
    guard let answer = await observe(peer) else { return }
    var request = dialect.observeRequest
    request.observe = 0
    state.withLock { $0.wasConnected = true }
    device.onEvent?(.connected(request: SimulatedMessage(request, "GET"), answer: SimulatedMessage(answer)))
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.keepAlive(peer) }
      await answerCalls(peer)
    }
  }

  /// Registers, in place of an earlier registration. Returns nil if that fails and the session ends.
  private func observe(_ peer: CoAPPeer) async -> CoAPResponse? {
    let notifications = notifications.continuation
    let registration = state.withLock { state in
      state.registrations += 1
      return state.registrations
    }
    let answer: CoAPResponse
    let token: CoAPToken
    do throws(CoAPFailure) {
      (answer, token) = try await peer.observe(dialect.observeRequest, timeout: device.responseTimeout) {
        notifications.yield((registration, $0))
      }
    } catch {
      end(error.description)
      return nil
    }
    guard answer.code.isSuccess else {
      end("the server refuses: \(answer.summary)")
      return nil
    }
    guard answer.observe != nil else {
      end("the server does not offer an observation")
      return nil
    }
    if let problem = dialect.problem(withFirst: answer) {
      end(problem)
      return nil
    }
    let earlier = state.withLock { state in
      defer { state.token = token }
      return state.token
    }
    if let earlier { await peer.forgetObservation(token: earlier) }
    heardOfObservation()
    return answer
  }

  private func takeLeave(_ peer: CoAPPeer) async {
    guard let token = state.withLock(\.token) else { return }
    // An unreachable server must not delay the end of the device.
    let timeout = min(device.responseTimeout, .seconds(1))
    let answer = try? await peer.stopObserving(dialect.observeRequest, token: token, timeout: timeout)
    if answer?.code.isSuccess == true { device.onEvent?(.deregistered) }
  }

  private func heardOfObservation() {
    let now = ContinuousClock.now
    state.withLock {
      $0.heard = now
      $0.observed = now
    }
  }

  /// Sends the dialect's keep-alive, if it has one, when nothing was heard for `keepAlive`, and registers again when there was
  /// no notification for `renewal`. Ends with the session.
  private func keepAlive(_ peer: CoAPPeer) async {
    let request = dialect.keepAliveRequest
    while !Task.isCancelled {
      let now = ContinuousClock.now
      let (due, renewal) = state.withLock { ($0.heard + device.keepAlive, $0.observed + device.renewal) }
      if renewal <= now {
        guard await observe(peer) != nil else { return }
      } else if let request, due <= now {
        do throws(CoAPFailure) {
          // Firmware accepts any response code.
          _ = try await peer.request(request, timeout: device.responseTimeout)
          state.withLock { $0.heard = .now }
        } catch {
          return end(error.description)
        }
      } else {
        try? await Task.sleep(until: request == nil ? renewal : min(due, renewal))
      }
    }
  }

  // MARK: Calls

  private func answerCalls(_ peer: CoAPPeer) async {
    await withTaskGroup(of: Void.self) { calls in
      var running = 0
      for await (registration, notification) in notifications.stream {
        // Every notification has the Observe option (RFC 7641 §4.2). A message without it ends the observation, as ThingsBoard's
        // 2.02 does when another device registers with the same token.
        guard notification.code.isSuccess, notification.observe != nil else {
          // The server may end an earlier registration because a later one has replaced it.
          guard registration == state.withLock(\.registrations) else { continue }
          return end("the server ended the observation: \(notification.summary)")
        }
        heardOfObservation()
        guard let call = call(in: notification) else { continue }
        if running == max(1, device.concurrentCalls) {
          await calls.next()
          running -= 1
        }
        running += 1
        calls.addTask { await self.answer(call, peer) }
      }
    }
  }

  private func call(in notification: CoAPResponse) -> SimulatedCall? {
    let message = SimulatedMessage(notification)
    let call: SimulatedCall
    do throws(NoCall) {
      call = try dialect.call(in: notification)
    } catch {
      device.onEvent?(.dropped(message, reason: error.reason))
      return nil
    }
    device.onEvent?(.called(id: call.id, method: call.method, params: call.params, message: message))
    return call
  }

  private func answer(_ call: SimulatedCall, _ peer: CoAPPeer) async {
    let result =
      await device.functions[call.method]?(call.params) ?? device.panel?.result(call.method, call.params) ?? .notFound
    guard !Task.isCancelled else { return }
    let request = dialect.request(result, of: call)
    do throws(CoAPFailure) {
      let answer = try await peer.request(request, timeout: device.responseTimeout)
      state.withLock { $0.heard = .now }
      device.onEvent?(
        .answered(
          id: call.id, result: result, message: SimulatedMessage(request, "POST"), answer: SimulatedMessage(answer)))
    } catch {
      end(error.description)
    }
  }
}

extension CoAPResponse {
  /// The code and the diagnostic text, for people.
  var summary: String {
    guard !payload.isEmpty, let text = String(validating: payload, as: UTF8.self) else { return code.description }
    return "\(code) \(text)"
  }
}
