// Telemetry: what the server tells about itself: its metrics, its state, the traces of calls, and how much it logs.
// The rooms Server and Loop use it.

internal import FoundationEssentials
internal import Tracing

/// The trace that a call belongs to, which gets the call's spans when the call has ended.
///
/// The spans are made afterwards from the times of the call's evidence, so that a call that nobody traces costs nothing.
package final class CallTrace: Sendable {
  private let tracer: any Tracer
  // Of the caller.
  private let context: InstrumentationContext
  private let method: String
  private let device: String

  /// In the trace of the current task, or a new one.
  fileprivate init(_ tracer: any Tracer, _ method: String, _ device: String) {
    self.tracer = tracer
    context = .current ?? .topLevel
    self.method = method
    self.device = device
  }

  /// A span for the call, and within it one for each stage of its way: `queued` until it was sent, `sent` until its
  /// acknowledgement, `acknowledged` until its result. The result is the event `answered`.
  func record(_ call: CallInfo) {
    let begin = call.created
    let end = call.ended ?? begin
    let evidence = call.evidence
    let span = start(at: begin, evidence.delivery)
    span.attributes["device_rpc.call"] = call.id.description
    switch call.outcome {
    case .result(let result):
      span.attributes["device_rpc.status"] = "\(result.status)"
      if result.status != .ok { span.setStatus(SpanStatus(code: .error, message: "\(result.status)")) }
    case .error(let error): span.setStatus(SpanStatus(code: .error, message: "\(error)"))
    case nil: break
    }
    let times = [evidence.sentAfter, evidence.acknowledgedAfter, evidence.resultAfter].map {
      $0.map { min(begin.addingTimeInterval($0.seconds), end) }
    }
    stage("queued", from: begin, to: times[0] ?? end, in: span.context)
    // A result can overtake the acknowledgement, and then takes its place.
    if let sent = times[0] { stage("sent", from: sent, to: times[1] ?? times[2] ?? end, in: span.context) }
    if let acknowledged = times[1] { stage("acknowledged", from: acknowledged, to: times[2] ?? end, in: span.context) }
    if let answered = times[2] { span.addEvent(SpanEvent(name: "answered", at: Instant(answered))) }
    span.end(at: Instant(end))
  }

  /// A span for a call that was refused at once.
  func refused(_ error: CallError, at date: Date) {
    let span = start(at: date, error.delivery)
    span.setStatus(SpanStatus(code: .error, message: "\(error)"))
    span.end(at: Instant(date))
  }

  private func start(at date: Date, _ delivery: Delivery) -> any Span {
    let span = tracer.startSpan(method, context: context, ofKind: .client, at: Instant(date))
    span.attributes["rpc.system"] = "device_rpc"
    span.attributes["rpc.method"] = method
    span.attributes["device_rpc.device"] = device
    span.attributes["device_rpc.delivery"] = delivery.rawValue
    return span
  }

  private func stage(_ name: String, from begin: Date, to end: Date, in context: InstrumentationContext) {
    tracer.startSpan(name, context: context, at: Instant(begin)).end(at: Instant(max(begin, end)))
  }

  private struct Instant: TracerInstant {
    let nanosecondsSinceEpoch: UInt64

    init(_ date: Date) { nanosecondsSinceEpoch = UInt64(max(0, date.timeIntervalSince1970) * 1e9) }

    static func < (left: Instant, right: Instant) -> Bool { left.nanosecondsSinceEpoch < right.nanosecondsSinceEpoch }
  }
}

/// Begins the traces of calls.
struct CallTracing: Sendable {
  // Nil when nobody traces.
  private let tracer: (any Tracer)?

  /// With the tracer that is in use now.
  init() {
    let tracer = InstrumentationSystem.tracer
    self.tracer = tracer is NoOpTracer ? nil : tracer
  }

  /// The trace for a call of the current task; nil when nobody traces.
  func begin(_ call: Call, on device: String) -> CallTrace? { tracer.map { CallTrace($0, call.method, device) } }
}
