# The models: every interleaving of a bounded configuration, a kill at every step.

PROOFS += model
PROOF_PACKAGES += spin

.PHONY: model
model: | $(FIRST) ## check the Spin models, and that each planted bug is found; FULL=1: bigger ones
	$(Q)FULL='$(FULL)' BUILD='$(abspath $(BUILD))' CC='$(CC)' nice tests/model/run.sh $(ONLY)
