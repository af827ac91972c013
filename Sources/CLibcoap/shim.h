#pragma once
#include <coap3/coap.h>
