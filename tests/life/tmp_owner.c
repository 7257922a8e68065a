#include "stage.h"
const struct scenario owner_scenarios[] = { { 0 } };
