"""scikit-learn's estimators, computed by jaxmlp."""
