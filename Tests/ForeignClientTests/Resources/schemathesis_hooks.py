"""What schemathesis cannot know from the document: which device is connected, and that a call may wait for another for a day."""

import schemathesis

LONGEST_WAIT = 0.05


def shortened(members):
    for name in ("timeout", "wait"):
        seconds = members.get(name)
        # What is no time, or out of range, stays as it is: it must be refused.
        if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and LONGEST_WAIT < seconds <= 86_400:
            members[name] = LONGEST_WAIT


def is_exact(value):
    """Whether each whole number is a floating-point number, too, as which all numbers go to the device."""
    if isinstance(value, dict):
        return all(map(is_exact, value.values()))
    if isinstance(value, list):
        return all(map(is_exact, value))
    return not isinstance(value, int) or abs(value) <= 2**53


@schemathesis.hook
def filter_body(context, body):
    return is_exact(body)


@schemathesis.hook
def before_call(context, case, **kwargs):
    if isinstance(case.body, dict):
        shortened(case.body)
    if isinstance(case.query, dict):
        shortened(case.query)
    device = (case.path_parameters or {}).get("device")
    # The others are devices that nobody knows.
    if isinstance(device, str) and len(device) % 2 == 1:
        case.path_parameters["device"] = "sensor-1"
