"""3. recommend: recommenders behind one signature, selection of k, explanation, safety."""
